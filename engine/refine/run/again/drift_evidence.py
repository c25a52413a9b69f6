"""Combined evidence for a drift, from the lattice of a scan and from its refined object.

Neither is certain alone, and each errs in its own way. The lattice's deviations follow a normal law except for a few
scans whose model of single scattering and one defocus is wrong, mostly thick crystals: these may be certain of
anything. The weight of a lattice is therefore bounded. The gain of a refined object absorbs what the model of the run
lacks, and its scatter is estimated from a few unequal parts: it scatters like Student's t with four degrees of freedom.

Each contributes the rise of minus twice the logarithm of its law's density. The contributions are independent, since
frequencies of the bright field and the slope of a loss see different errors, and add up.

A drift that both show is tested once more after the run has continued without it. The slope of the loss has reversed by
then: for a parabolic loss it is zero at the true drift, so the two slopes add up to zero if half of the removed drift
is real, and to less than zero if most of it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptylive.engine.refine.run.again.strained_scan import Slopes
from ptylive.schema.model import DoubleArray

WRONG = 1 / 40
"""Share of scans whose lattice may be certain of anything: one of 41 that were simulated
(docs/measured/automatic/drift.md)."""
WRONG_OF_SEVERAL = 1 / 10
"""The same share for specimens in several slices: one of 13 thick crystals, the same scan among them."""
FREEDOM = 4
"""Degrees of freedom of the refined object's gain."""
ENOUGH = 10.0
"""Evidence that both together have to exceed: by these laws one of a hundred scans without drift does."""
POSSIBLE = 5.0
"""Evidence from which a drift is tried nevertheless if one slice explains the patterns: its model does not err."""
POSSIBLE_OF_SEVERAL = 8.0
"""The same for several slices (docs/measured/automatic/drift.md)."""
EXPLAINED = 1.1
"""Ratio of the loss to that of counting noise up to which a run explains its patterns."""
MISSED = -3.0
"""Standard deviations of both slopes together below which a drift is rejected: -8 to -21 for drifts that are not there
or a sixth as large, -0.2 to 4.3 for most of those that are, -2.5 for one (docs/measured/automatic/drift.md)."""
UNCONFIRMED = -1.0
"""The same limit for a drift that is only possible: -0.8 to 1.3 for those that are there, -1.3 to -6.8 for others."""


def missed_by(before: Slopes, after: Slopes, drift: DoubleArray, *, sure: bool = True) -> float | None:
    """Standard deviations by which an object refined without the drift wants it back; None if it does not.

    ``before``: slopes of the object refined on the nominal positions; ``after``: of the one refined without ``drift``,
    given in the units of the slopes; ``sure``: whether the evidence for the drift was enough, and not only possible.
    """
    (gain, unsure), (back, unsure_back) = before.along(drift), after.along(drift)
    both = math.hypot(unsure, unsure_back)
    combined = (gain + back) / both if both > 0 else 0.0
    return -combined if combined < (MISSED if sure else UNCONFIRMED) else None


@dataclass(frozen=True)
class DriftEvidence:
    """Evidence for a drift that the lattice shows."""

    lattice: float
    """Size of the drift in standard deviations, over its two components."""
    object: float
    """Standard deviations that the refined object gains by the strain of the drift; negative if it loses."""
    several: bool = False
    """Whether the specimen is refined in several slices."""

    @property
    def total(self) -> float:
        """Sum of both contributions; a loss of the object counts against the drift."""
        wrong = WRONG_OF_SEVERAL if self.several else WRONG
        shown = -2 * math.log(wrong + (1 - wrong) * math.exp(-(self.lattice**2) / 2))
        return shown + math.copysign((FREEDOM + 1) * math.log1p(self.object**2 / FREEDOM), self.object)

    @property
    def is_enough(self) -> bool:
        """Whether the drift is removed."""
        return self.total > ENOUGH

    def is_worth_trying(self, loss_over_noise: float | None) -> bool:
        """Whether a run that left so much is continued without the drift, at least to see what that object says."""
        if self.several:
            return self.total > POSSIBLE_OF_SEVERAL
        explains = loss_over_noise is not None and loss_over_noise < EXPLAINED
        return self.is_enough or (self.total > POSSIBLE and explains)

    def __str__(self) -> str:
        """Describe the evidence in words."""
        return (
            f"{self.lattice:.1f} and {self.object:.1f} standard deviations, evidence {self.total:.1f} of {ENOUGH:.0f}"
        )
