"""Additions to the live maps: contradictions of the values in use, the pattern of a point, contrast."""
