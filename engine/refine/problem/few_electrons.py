"""What counts as few electrons, and as many; what few mean for several slices (docs/automatic/few-electrons.md).

Slices within a depth of focus move together. The pull of the anchor on their sum is therefore a fraction of what it is
on a single slice, while their differences are noise: at low dose they are held closer to the result of the sweeps.
Least squares of amplitudes also pull the faint pixels, of which low-dose patterns consist, to zero: they are compared
by their counts.
"""

from __future__ import annotations

from ptylive.engine.refine.data.pattern_statistics import PatternStatistics

FEW_E_PER_A2 = 5000.0
"""Dose up to which a refinement of several slices counts as having few electrons."""
MANY_ELECTRONS_PER_A2 = 1e4
"""Dose up to which one slice is held by the anchor of its regime, its probe makes slow steps, and its batches are large
enough to be quiet. Beyond it the anchor falls as 1 / dose: the curvature grows with the electrons, and the distance
from the truth at which sweeps end does not."""
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
