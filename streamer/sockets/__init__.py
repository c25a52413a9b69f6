"""Common needs of all sockets: keys, a queue bounded in bytes, connections that survive strangers."""
