"""Sparsity of phase and absorption: L1 norms of the object's potential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser

FAINTEST = 1e-12
"""|O|^2 below which the phase of a pixel is not meaningful."""


@regulariser("phase_norm", acts_on="object", switches=("phase_norm_weight",), order=10)
@dataclass(frozen=True)
class PhaseNorm:
    """weight * sum |arg O|, gradient weight * i sgn(arg O) O / |O|^2 (PyPty: phase_norm)."""

    weight: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> PhaseNorm | None:
        """The penalty for one epoch; None if its weight is 0."""
        weight = context.weight("phase_norm_weight")
        return cls(weight) if weight > 0 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        phase = xp.angle(wave)
        value = self.weight * abs(phase).sum(dtype="float64")
        return Penalised(value, 1j * self.weight * xp.sign(phase) * _over_square(wave, xp))


@regulariser("abs_norm", acts_on="object", switches=("abs_norm_weight",), order=20)
@dataclass(frozen=True)
class AbsorptionNorm:
    """weight * sum |ln |O||, gradient weight * sgn(ln |O|) O / |O|^2 (PyPty: abs_norm)."""

    weight: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> AbsorptionNorm | None:
        """The penalty for one epoch; None if its weight is 0."""
        weight = context.weight("abs_norm_weight")
        return cls(weight) if weight > 0 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        absorption = 0.5 * xp.log(xp.maximum(abs(wave) ** 2, FAINTEST))
        value = self.weight * abs(absorption).sum(dtype="float64")
        return Penalised(value, self.weight * xp.sign(absorption) * _over_square(wave, xp))


def _over_square(wave: Any, xp: Any) -> Any:
    """O / |O|^2."""
    return wave / xp.maximum(abs(wave) ** 2, FAINTEST)
