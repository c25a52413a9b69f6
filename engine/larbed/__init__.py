"""LARBED: structure factors and thickness of a crystal from a series of diffraction patterns with a tilted beam."""
