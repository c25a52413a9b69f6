"""A regulariser: neighbouring pixels of the object should be alike.

weight sum |O - O one row before|^2 + |O - O one column before|^2,   periodic
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, Setting, regulariser


@regulariser(
    "smoothness",
    acts_on="object",
    settings=(
        Setting(
            "smoothness_weight",
            0.0,
            "weight of squared differences of neighbouring pixels of the object",
            at_least=0.0,
            at_most=1e30,
        ),
    ),
)
@dataclass(frozen=True)
class Smoothness:
    """One weight."""

    weight: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> Smoothness | None:
        """Of one epoch; None where its weight is 0."""
        weight = context.weight("smoothness_weight")
        return cls(weight) if weight > 0 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """Value and gradient dR/dRe + i dR/dIm of an object (modes, slices, Y, X)."""
        value, gradient = 0.0, xp.zeros_like(wave)
        for axis in (-2, -1):
            step = wave - xp.roll(wave, 1, axis)
            value = value + self.weight * (abs(step) ** 2).sum(dtype="float64")
            gradient += 2 * self.weight * (step - xp.roll(step, -1, axis))
        return Penalised(value, gradient)
