"""How programs talk to a server: client, messages, published events."""
