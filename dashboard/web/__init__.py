"""HTTP and websocket of the dashboard: who is let in, what a page may send, what it downloads."""
