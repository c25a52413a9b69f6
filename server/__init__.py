"""The server that runs next to a microscope, and the command line."""
