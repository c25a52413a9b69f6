"""The dashboard as a client of the server: what it is told, and what it orders."""
