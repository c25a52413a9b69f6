"""Beside the live maps: what contradicts the values in use, the pattern of a point, contrast."""
