"""Figures of an experiment before it is made: sampling, overlap, dose, depth, memory and time (docs/planning.md)."""
