"""Sizes of batches of patterns, and how the object's step follows from them (docs/automatic/steps.md)."""

from __future__ import annotations

import math

from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.problem.few_electrons import COUNTING, MANY_ELECTRONS_PER_A2

LEAST_BATCHES = 128
"""Sufficient number of batches in a sweep of a thin specimen: larger scans use larger batches, which costs less."""
QUIET_E_PER_A2 = 3000.0
"""Electrons per Å² that the patterns of a batch have together, for one slice up to that dose if half of a scan has as
many: a step follows its own batch including the noise of its electrons, and not all of that is undone later."""
NEWTON_STEP = 1.0
"""Longest step given to a larger batch."""


def quiet_batch(statistics: PatternStatistics) -> int:
    """Number of patterns with ``QUIET_E_PER_A2`` together, at most half of all; 0 with many electrons or none."""
    if statistics.counting_share <= COUNTING or not 0 < statistics.dose_e_per_A2 <= MANY_ELECTRONS_PER_A2:
        return 0
    return int(min(QUIET_E_PER_A2 / statistics.dose_e_per_A2, 0.5) * statistics.patterns)


def step_of(step: float, batch: int, usual: int, patterns: int) -> float:
    """Step for batches of another size than the usual one it is meant for: a sweep of smaller batches has more of them.

    Their number times the step determines how far a sweep goes, if each batch lights the object evenly. Small batches
    do not: the brightest pixel, which bounds the step, is brighter relative to the mean. The square root lies between
    both. No batch has more patterns than ``patterns``; 0: the number is unknown.
    """
    most = patterns or max(batch, usual)
    return min(step * math.sqrt(min(batch, most) / min(usual, most)), max(step, NEWTON_STEP))
