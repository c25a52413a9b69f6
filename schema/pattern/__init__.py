"""Corrections that turn a recorded pattern into a pattern of counts: the distortion of the projection."""
