"""engine/backend."""
