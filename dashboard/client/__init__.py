"""The dashboard as a client of the server: the events it receives and the commands it sends."""
