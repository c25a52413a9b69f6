"""engine/refine."""
