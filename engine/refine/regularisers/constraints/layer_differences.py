"""Penalties on changes from layer to layer, and on surfaces that are not vacuum: loss terms with exact gradients.

A term preserves the history of L-BFGS and is weighed against the patterns: unlike a filter that acts once per epoch, it
does not depend on the number of epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting

SMALLEST = 1e-20
"""Added to the square of a difference, so that the gradient of equal slices is defined."""
FAINTEST = 1e-12
"""|O|^2 below which the phase of a pixel is not meaningful."""
LEAST_SLICES = 3
"""Least number of slices of an object whose first and last slice may be vacuum."""


def _weight(name: str, help_: str) -> Setting:
    return Setting(name, 0.0, help_, at_least=0.0, at_most=1e30)


@regulariser(
    "layers_tikhonov",
    acts_on="object",
    settings=(_weight("layers_tikhonov_weight", "weight of squared differences of neighbouring slices (phaser)"),),
    order=110,
)
@dataclass(frozen=True)
class LayersTikhonov:
    """weight * sum |O_z+1 - O_z|^2 (phaser: ``layers_tikh``)."""

    weight: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> LayersTikhonov | None:
        """The penalty for one epoch; None if its weight is 0, or there is only one slice."""
        weight = context.weight("layers_tikhonov_weight")
        return cls(weight) if weight > 0 and context.layout.object_shape[0] > 1 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        step = wave[:, 1:] - wave[:, :-1]
        return Penalised(self.weight * (abs(step) ** 2).sum(dtype="float64"), _spread(2 * self.weight * step, wave, xp))


@regulariser(
    "layers_tv",
    acts_on="object",
    settings=(_weight("layers_tv_weight", "weight of the total variation along the beam (phaser, quantEM)"),),
    order=120,
)
@dataclass(frozen=True)
class LayersTotalVariation:
    """weight * sum (|O_z+1 - O_z|^2 + 1e-20)^(1/2) (phaser: ``layers_tv``; quantEM: ``tv_weight_z``, of phases)."""

    weight: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> LayersTotalVariation | None:
        """The penalty for one epoch; None if its weight is 0, or there is only one slice."""
        weight = context.weight("layers_tv_weight")
        return cls(weight) if weight > 0 and context.layout.object_shape[0] > 1 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        step = wave[:, 1:] - wave[:, :-1]
        length = xp.sqrt(abs(step) ** 2 + SMALLEST)
        return Penalised(self.weight * length.sum(dtype="float64"), _spread(self.weight * step / length, wave, xp))


@regulariser(
    "surface_zero",
    acts_on="object",
    settings=(_weight("surface_zero_weight", "weight of the content of the first and the last slice (quantEM)"),),
    order=130,
)
@dataclass(frozen=True)
class SurfaceZero:
    """weight * sum (|phi - mean phi| + |1 - |O||) over the first and the last slice (quantEM: ``surface_zero_weight``).

    The mean is that of the slice: a constant phase is also vacuum. quantEM uses means over pixels instead of sums; as
    there, an object of fewer than three slices is left unchanged.
    """

    weight: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> SurfaceZero | None:
        """The penalty for one epoch; None if its weight is 0, or there are fewer than three slices."""
        weight = context.weight("surface_zero_weight")
        return cls(weight) if weight > 0 and context.layout.object_shape[0] >= LEAST_SLICES else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        outer = wave[:, [0, -1]]
        size = xp.sqrt(xp.maximum(abs(outer) ** 2, FAINTEST))
        phase = xp.angle(outer)
        deviation = phase - phase.mean(axis=(-2, -1), keepdims=True)
        sign = xp.sign(deviation)
        turning = sign - sign.mean(axis=(-2, -1), keepdims=True)
        value = self.weight * (abs(deviation) + abs(1 - size)).sum(dtype="float64")
        gradient = xp.zeros_like(wave)
        unit = outer / size
        gradient[:, [0, -1]] = self.weight * (1j * turning / size + xp.sign(size - 1)) * unit
        return Penalised(value, gradient)


def _spread(pull: Any, wave: Any, xp: Any) -> Any:
    """Gradient by the slices from one (modes, slices - 1, Y, X) by their differences."""
    gradient = xp.zeros_like(wave)
    gradient[:, 1:] += pull
    gradient[:, :-1] -= pull
    return gradient
