"""Measured data and what is known about them: patterns, windows, statistics, the starting probe, drift."""
