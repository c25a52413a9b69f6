"""Adaptive total variation, which favours flat objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser

SMALLEST = 1e-20
"""Added to the length of a difference, so that the gradient of a flat object is defined."""


@regulariser("atv", acts_on="object", switches=("atv_weight",), order=30)
@dataclass(frozen=True)
class TotalVariation:
    """weight * sum (|D_y O|^p + |D_x O|^p + 1e-20)^(q/p), D the difference to the previous neighbour, periodic.

    p = 2, q = 1: the length of the complex gradient, isotropic; p = q = 1: the axes separately (PyPty: atv).
    """

    weight: float
    p: float = 2.0
    q: float = 1.0

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> TotalVariation | None:
        """The penalty for one epoch; None if its weight is 0."""
        weight = context.weight("atv_weight")
        return cls(weight, context.settings.atv_p, context.settings.atv_q) if weight > 0 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        differences = [wave - xp.roll(wave, 1, axis) for axis in (-2, -1)]
        lengths = [abs(difference) for difference in differences]
        inner = sum(length**self.p for length in lengths) + SMALLEST
        value = self.weight * (inner ** (self.q / self.p)).sum(dtype="float64")
        outer = self.weight * self.q * inner ** (self.q / self.p - 1)
        gradient = xp.zeros_like(wave)
        for axis, difference, length in zip((-2, -1), differences, lengths, strict=True):
            # |d|^(p-2) d is 0 where d is 0: p is at least 1
            pull = outer * xp.where(length > 0, length, 1) ** (self.p - 2) * difference
            gradient += pull - xp.roll(pull, -1, axis)
        return Penalised(value, gradient)
