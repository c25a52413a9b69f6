"""engine/live/maps."""
