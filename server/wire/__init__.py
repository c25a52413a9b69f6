"""Communication of programs with a server: client, messages, published events."""
