"""The running server: the supervisor, the receiving process, the control socket and the session."""
