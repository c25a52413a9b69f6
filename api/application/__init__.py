"""Code shared by command line, server and notebooks: read files, make maps and refinements, export results."""
