"""Butterworth low and high pass across the beam, slice by slice; the mean of a slice is preserved.

    H(q) = (1 - 1 / (1 + (q / q_high)^2n)) / (1 + (q / q_low)^2n),   n = ``butterworth_order``

Acts on the transmission if real and imaginary parts are refined, otherwise on the potentials. py4DSTEM and quantEM:
``q_lowpass``, ``q_highpass``, ``butterworth_order``. PtyRAD's ``kr_filter`` and phaser's ``obj_low_pass`` are low
passes with an edge of a different shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.deconvolution import filtered
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.errors import MetadataError
from ptylive.schema.preset.added import Setting


@regulariser(
    "butterworth",
    acts_on="object",
    kind="projection",
    lasting=True,
    settings=(
        Setting(
            "q_lowpass_invA",
            0.0,
            "frequency above which the object is filtered; 0: none",
            at_least=0.0,
            at_most=1e3,
            unit="1/Å",
        ),
        Setting(
            "q_highpass_invA",
            0.0,
            "frequency below which the object is filtered; 0: none",
            at_least=0.0,
            at_most=1e3,
            unit="1/Å",
        ),
        Setting("butterworth_order", 2, "order of both filters: the larger, the steeper", at_least=1, at_most=50),
    ),
    switches=("q_lowpass_invA", "q_highpass_invA"),
    order=1030,
)
@dataclass(frozen=True)
class Butterworth:
    """Butterworth filter of the object; see the module."""

    pixel_A: float
    low_invA: float
    """Cut-off of the low pass; 0: no low pass."""
    high_invA: float
    """Cut-off of the high pass; 0: no high pass."""
    order: int

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> Butterworth | None:
        """The filter for one epoch; None if both passes are off. Raises MetadataError if nothing would pass."""
        low, high, order = (
            context.settings.value(name) for name in ("q_lowpass_invA", "q_highpass_invA", "butterworth_order")
        )
        if not low and not high:
            return None
        if low and low <= high:
            raise MetadataError("q_lowpass_invA is not above q_highpass_invA", "swap them")
        return cls(context.grid.pixel_A, float(low), float(high), int(order))

    def transfer(self, shape: tuple[int, int], xp: Any) -> Any:
        """H (Y, X), with the zero frequency (the mean) at [0, 0], where it is 1."""
        q = xp.hypot(*(xp.fft.fftfreq(size, self.pixel_A)[index] for size, index in zip(shape, _AXES, strict=True)))
        transfer = xp.ones_like(q)
        if self.high_invA:
            transfer *= 1 - 1 / (1 + (q / self.high_invA) ** (2 * self.order))
        if self.low_invA:
            transfer *= 1 / (1 + (q / self.low_invA) ** (2 * self.order))
        transfer[0, 0] = 1
        return transfer.astype(np.float32)

    def changed(self, wave: Any, xp: Any) -> Any:
        """Return the filtered transmission (modes, slices, Y, X)."""
        return filtered(wave, self.transfer(wave.shape[-2:], xp), xp)

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Return the filtered phase and absorption (modes, slices, Y, X)."""
        transfer = self.transfer(phase.shape[-2:], xp)
        return filtered(phase, transfer, xp), filtered(absorption, transfer, xp)


_AXES = ((slice(None), None), (None, slice(None)))
