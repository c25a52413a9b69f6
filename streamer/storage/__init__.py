"""streamer/storage."""
