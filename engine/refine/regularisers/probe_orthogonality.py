"""Orthogonality of probe modes, as a term of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.preset.added import Setting

SMALLEST = 1e-30


@regulariser(
    "probe_orthogonality",
    acts_on="probe",
    settings=(
        Setting(
            "probe_orthogonality_weight",
            0.0,
            "weight of the overlap between the modes of a probe (quantEM; McCray et al.: 0.1)",
            at_least=0.0,
            at_most=1e30,
        ),
    ),
    order=140,
)
@dataclass(frozen=True)
class ProbeOrthogonality:
    """weight * sum over pairs i < j of |<P_i, P_j>|^2 / sum of all |P|^2, in counts like the patterns' loss.

    If parts of the scan have their own probes, pairs are formed within one probe.
    """

    weight: float
    probes: int = 1

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> ProbeOrthogonality | None:
        """The penalty for one epoch; None if its weight is 0, or probes have one mode."""
        weight, layout = context.weight("probe_orthogonality_weight"), context.layout
        return cls(weight, layout.probe.probes) if weight > 0 and layout.modes > 1 else None

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        modes = wave.reshape(self.probes, wave.shape[0] // self.probes, -1)
        overlaps = modes @ modes.conj().swapaxes(1, 2)
        diagonal = xp.eye(overlaps.shape[1], dtype=bool)
        power = xp.maximum(overlaps[:, diagonal].real.sum(dtype="float64"), SMALLEST)
        overlaps = xp.where(diagonal, 0, overlaps)
        value = 0.5 * self.weight * (abs(overlaps) ** 2).sum(dtype="float64") / power
        scale = (2 / power).astype(wave.real.dtype)
        pull = scale * (self.weight * (overlaps @ modes) - value.astype(wave.real.dtype) * modes)
        return Penalised(value, pull.reshape(wave.shape))
