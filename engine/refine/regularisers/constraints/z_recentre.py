"""Shift of the object to the middle of its slices, once per epoch; the probe is propagated back by the same distance.

A shift of the specimen along the beam and a defocus of the probe are equivalent, so the object may drift to one end of
its slices. The shift is measured as in PtyRAD (``obj_z_recenter``): centre of mass along the beam of the phases above a
percentile. The potentials are then redistributed over the slices at their new depth; anything that would leave the
slices stays in the outermost one, and vacuum follows. (PtyRAD shifts by a Fourier transform along the beam,
periodically.) In Fourier space the probe is multiplied by the inverse of the propagator over that distance: as long as
nothing reaches the outermost slices and the shift is by whole slices, no pattern changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset.added import Setting

SMALLEST_SLICES = 1e-3
"""Shifts shorter than this are not applied."""


@regulariser(
    "z_recentre",
    acts_on="both",
    kind="projection",
    lasting=True,
    settings=(
        Setting(
            "obj_z_recenter", False, "move the object to the middle of its slices, together with the probe (PtyRAD)"
        ),
        Setting(
            "obj_z_recenter_thresh", 95.0, "percentile of the phases above which they count", at_least=0.0, below=100.0
        ),
        Setting("obj_z_recenter_scale", 1.0, "share of the shift that is applied", at_least=0.0, at_most=1.0),
        Setting("obj_z_recenter_max_shift", 10.0, "largest shift, in slices", at_least=0.0, at_most=1000.0),
    ),
    order=1080,
)
@dataclass(frozen=True)
class ZRecentre:
    """Recentring of the object along the beam; see the module."""

    distance_A: float
    """Mean distance between slices."""
    phase_per_A: DoubleArray
    """(P, P) phase added by free space, rad/Å."""
    percentile: float
    scale: float
    most_slices: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> ZRecentre | None:
        """The projection for one epoch; None if it is off, or there is only one slice."""
        if not context.settings.value("obj_z_recenter") or not context.spacings_A:
            return None
        names = ("obj_z_recenter_thresh", "obj_z_recenter_scale", "obj_z_recenter_max_shift")
        values = (float(context.settings.value(name)) for name in names)
        return cls(float(np.mean(context.spacings_A)), context.phase_per_A, *values)

    def shift(self, phase: Any, xp: Any) -> float:
        """Number of slices by which the object is to move deeper, from its phase (modes, slices, Y, X)."""
        slices = phase.shape[1]
        positive = xp.maximum(phase, 0)
        thresholded = xp.where(positive < xp.percentile(positive, self.percentile), 0, positive)
        weight = thresholded.mean(axis=(0, 2, 3), dtype="float64")
        middle = float((xp.arange(slices) * weight).sum() / (weight.sum() + 1e-8))
        most = min(self.most_slices, (slices - 1) / 2)
        return float(np.clip(self.scale * ((slices - 1) / 2 - middle), -most, most)) if float(weight.sum()) > 0 else 0.0

    def all_changed(self, phase: Any, absorption: Any, probe: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Return phase and absorption (modes, slices, Y, X) and the probe (modes, P, P) in Fourier space."""
        shift = self.shift(phase, xp)
        if abs(shift) < SMALLEST_SLICES:
            return phase, absorption, probe
        shares = xp.asarray(shifted_shares(phase.shape[1], shift), dtype=phase.dtype)
        moved = [xp.einsum("zs,msyx->mzyx", shares, values) for values in (phase, absorption)]
        back = xp.exp(-1j * shift * self.distance_A * xp.asarray(self.phase_per_A)).astype(probe.dtype)
        return moved[0], moved[1], probe * back


def shifted_shares(slices: int, shift: float) -> DoubleArray:
    """(slices, slices) share of each slice in each one after a shift by ``shift`` slices; columns sum to 1."""
    shares = np.zeros((slices, slices))
    floor = int(np.floor(shift))
    for source in range(slices):
        for target, share in ((source + floor, 1 - (shift - floor)), (source + floor + 1, shift - floor)):
            shares[min(max(target, 0), slices - 1), source] += share
    return shares
