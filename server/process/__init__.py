"""Shared by all processes of the server: configuration, exit codes, compilation, the watch on the parent."""
