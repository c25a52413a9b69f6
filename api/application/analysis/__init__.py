"""What a refinement holds: figures, pictures and arrays, as the command line, the server and notebooks ask for them."""
