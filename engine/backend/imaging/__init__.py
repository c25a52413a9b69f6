"""Compiled loops of the live maps: reduction of frames, filters, contraction of filter banks."""
