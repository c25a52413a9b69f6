"""What the lattice of a scan and its refined object say of a drift together.

Neither is sure by itself, and each is wrong in its own way. The lattice's deviations are those of a normal law but for
a few scans whose model of single scattering and one defocus is off, thick crystals for the most part: those are sure of
anything. So what a lattice counts for is bounded. The gain of a refined object takes up what the model of the run
lacks and knows its scatter from few, unequal parts: it scatters as Student's t of four degrees of freedom does.

Each tells what minus twice the logarithm of its law's density rises to. They are independent, since frequencies of the
bright field and the slope of a loss see different errors, and add up.

A drift that both show is asked for once more where the run has gone on without it. The slope of the loss has turned by
then: with a loss that is a parabola it is zero at the drift that is there, so the two slopes add up to nothing where
half of what was taken is there, and to less than nothing where most of it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptylive.engine.refine.run.again.strain_score import StrainScore

WRONG = 1 / 40
"""Share of scans whose lattice may be sure of anything: one of 41 that were simulated (docs/automatic/drift.md)."""
WRONG_OF_SEVERAL = 1 / 10
"""The same of specimens in several slices: one of 13 thick crystals, that one among them."""
FREEDOM = 4
"""Degrees of freedom of the refined object's gain."""
ENOUGH = 10.0
"""What both together have to exceed: by these laws one of a hundred scans without drift does."""
MISSED = -3.0
"""Standard deviations below which both slopes together say that it is not: -8 to -21 of drifts that are not there or
a sixth as large, -0.2 to 4.3 of those that are (docs/automatic/drift.md)."""


def missed_by(before: StrainScore, after: StrainScore) -> float | None:
    """Standard deviations by which an object wants the drift back that it was refined without; None: it does not.

    ``before``: what its loss gains by the drift, refined on the nominal positions; ``after``: refined without it.
    """
    unsure = math.hypot(before.unsure, after.unsure)
    both = (before.gain + after.gain) / unsure if unsure > 0 else 0.0
    return -both if both < MISSED else None


@dataclass(frozen=True)
class DriftEvidence:
    """Of a drift that the lattice shows."""

    lattice: float
    """Standard deviations that it is large, of its two numbers."""
    object: float
    """Standard deviations that the refined object gains by its strain; negative where it loses."""
    several: bool = False
    """Whether the specimen is refined in several slices."""

    @property
    def total(self) -> float:
        """Of both; what the object loses counts against it."""
        wrong = WRONG_OF_SEVERAL if self.several else WRONG
        shown = -2 * math.log(wrong + (1 - wrong) * math.exp(-(self.lattice**2) / 2))
        return shown + math.copysign((FREEDOM + 1) * math.log1p(self.object**2 / FREEDOM), self.object)

    @property
    def is_enough(self) -> bool:
        """Whether the drift is taken out."""
        return self.total > ENOUGH

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.lattice:.1f} and {self.object:.1f} standard deviations, evidence {self.total:.1f} of {ENOUGH:.0f}"
        )
