"""Reduction of frames to a few numbers per scan point, which are kept for the scan in memory or in scratch files."""
