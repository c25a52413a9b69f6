"""Trials of settings, as many at a time as there are workers."""
