"""The running server: the supervisor, the process that receives, the control socket, the session."""
