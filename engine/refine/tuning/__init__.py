"""Decisions by short trials: orientation, optics, depth, regime, form, probe modes, drift, start (docs/automatic)."""
