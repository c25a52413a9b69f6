"""Fixtures of tests of what follows a run."""

from shown_drift import shows

__all__ = ["shows"]
