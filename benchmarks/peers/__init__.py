"""Comparison with other programs: their direct methods (accuracy.py) and the speed of their refinement."""
