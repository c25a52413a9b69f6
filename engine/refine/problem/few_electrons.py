"""Several slices at low dose: the loss that compares them with patterns, and how far they may move from the sweeps.

Slices within a depth of focus move together. The pull of the anchor on their sum is therefore a fraction of what it is
on a single slice, while their differences are noise. Least squares of amplitudes also pull the faint pixels, of which
low-dose patterns consist, to zero (docs/automatic/few-electrons.md).
"""

from __future__ import annotations

from ptylive.engine.refine.data.pattern_statistics import PatternStatistics

FEW_E_PER_A2 = 5000.0
"""Dose up to which a refinement of several slices counts as having few electrons."""
FEW_ANCHOR = 1.0
"""Anchor for several slices at low dose."""
COUNTING = 0.5
"""Variance over mean of dark pixels below which patterns are free of noise, and all of the dark field is signal."""
NOISE_SPREAD = 0.12
"""Neighbour correlation above which the dark field comes from the detector, not the specimen."""


def are_few(statistics: PatternStatistics) -> bool:
    """Whether several slices have few electrons, which are counted individually."""
    counted = statistics.counting_share > COUNTING and statistics.noise_spread <= NOISE_SPREAD
    return counted and 0 < statistics.dose_e_per_A2 <= FEW_E_PER_A2
