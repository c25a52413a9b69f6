"""Fixtures of tests of what precedes a run."""

from shown_drift import shows

__all__ = ["shows"]
