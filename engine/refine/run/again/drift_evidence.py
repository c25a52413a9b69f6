"""What the lattice of a scan and its refined object say of a drift together.

Neither is sure by itself. The lattice's model of single scattering and one defocus is off now and then, the refined
object's gain takes up what the model of the run lacks, and both know their own scatter from few, unequal parts: of
scans that did not drift more lie beyond two and three standard deviations than a normal law has. They scatter as
Student's t of four degrees of freedom does. So each tells what minus twice the logarithm of that law's density rises
to, which grows slowly where deviations are many: one of them that is very wrong does not outvote the other. They are
independent, since frequencies of the bright field and a slope of the loss see different errors, and add up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FREEDOM = 4
"""Degrees of freedom."""
ENOUGH = 11.0
"""What both together have to exceed: by these laws 3.6 of a hundred scans without drift do."""


@dataclass(frozen=True)
class DriftEvidence:
    """Of a drift that the lattice shows."""

    lattice: float
    """Standard deviations that it is large, of its two numbers."""
    object: float
    """Standard deviations that the refined object gains by its strain; negative where it loses."""

    @property
    def total(self) -> float:
        """Of both; what the object loses counts against it."""
        return _of(self.lattice, 2) + math.copysign(_of(self.object, 1), self.object)

    @property
    def is_enough(self) -> bool:
        """Whether the drift is taken out."""
        return self.total > ENOUGH

    def __str__(self) -> str:
        """In words."""
        return (
            f"{self.lattice:.1f} and {self.object:.1f} standard deviations, evidence {self.total:.1f} of {ENOUGH:.0f}"
        )


def _of(deviations: float, numbers: int) -> float:
    """Minus twice the logarithm of the density of Student's t of some numbers, beyond its least."""
    return (FREEDOM + numbers) * math.log1p(deviations**2 / FREEDOM)
