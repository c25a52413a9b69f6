"""Analysis of a refinement: figures, pictures and arrays, for the command line, the server and notebooks."""
