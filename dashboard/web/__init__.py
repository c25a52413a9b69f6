"""HTTP and websocket of the dashboard: who is admitted, what a page may send, what it may download."""
