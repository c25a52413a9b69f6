"""Default size of the trials of a tuning, and its limits: docs/tune.md shows how well trials agree with long ones.

It imports nothing, since the help of the command line shows these numbers.
"""

from __future__ import annotations

TRIALS, MOST_TRIALS = 40, 100_000
LEAST_PATTERNS, PATTERNS = 64, 576
"""Patterns of a trial, from the middle of the scan."""
SWEEPS, MOST_SWEEPS = 6, 1000
