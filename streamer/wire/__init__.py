"""streamer/wire."""
