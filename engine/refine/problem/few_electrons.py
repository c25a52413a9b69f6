"""Several slices that few electrons lit: how they are compared with patterns, and how far they may go from the sweeps.

Slices within a depth of focus move together, so that the pull of the anchor on what they are together is a part of
what it is on one slice, while what they are apart is noise. And the least squares of amplitudes pull to nothing the
faint pixels, of which patterns of few electrons are made (docs/automatic/few-electrons.md).
"""

from __future__ import annotations

from ptylive.engine.refine.data.pattern_statistics import PatternStatistics

FEW_E_PER_A2 = 5000.0
"""Up to this dose electrons are few for several slices."""
FEW_ANCHOR = 1.0
"""Of several slices of few electrons."""
COUNTING = 0.5
"""Variance over mean of dark pixels below which patterns are free of noise, and all of the dark field is signal."""
NOISE_SPREAD = 0.12
"""Neighbour correlation above which the detector, not the specimen, makes the dark field."""


def are_few(statistics: PatternStatistics) -> bool:
    """Whether several slices have few electrons, which are counted one by one."""
    counted = statistics.counting_share > COUNTING and statistics.noise_spread <= NOISE_SPREAD
    return counted and 0 < statistics.dose_e_per_A2 <= FEW_E_PER_A2
