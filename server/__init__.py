"""The server that runs beside a microscope, and the command line."""
