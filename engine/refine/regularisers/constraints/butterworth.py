"""Low and high pass of Butterworth's form across the beam, slice by slice; the mean of a slice is kept.

    H(q) = (1 - 1 / (1 + (q / q_high)^2n)) / (1 + (q / q_low)^2n),   n = ``butterworth_order``

On the transmission where real and imaginary parts are refined, on the potentials otherwise. py4DSTEM and quantEM:
``q_lowpass``, ``q_highpass``, ``butterworth_order``. PtyRAD's ``kr_filter`` and phaser's ``obj_low_pass`` are low
passes with an edge of another form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.deconvolution import filtered
from ptylive.engine.refine.regularisers.registration import Asked, regulariser
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
    """See the module."""

    pixel_A: float
    low_invA: float
    """Of the low pass; 0: none."""
    high_invA: float
    """Of the high pass; 0: none."""
    order: int

    @classmethod
    def of_preset(cls, asked: Asked) -> Butterworth | None:
        """Of one epoch; None where both are off. Raises MetadataError where nothing passes."""
        low, high, order = (
            asked.settings.value(name) for name in ("q_lowpass_invA", "q_highpass_invA", "butterworth_order")
        )
        if not low and not high:
            return None
        if low and low <= high:
            raise MetadataError("q_lowpass_invA is not above q_highpass_invA", "exchange them")
        return cls(asked.grid.pixel_A, float(low), float(high), int(order))

    def transfer(self, shape: tuple[int, int], xp: Any) -> Any:
        """H (Y, X), zero frequency, where the mean lies, at [0, 0]: 1 there."""
        q = xp.hypot(*(xp.fft.fftfreq(size, self.pixel_A)[index] for size, index in zip(shape, _AXES, strict=True)))
        passed = xp.ones_like(q)
        if self.high_invA:
            passed *= 1 - 1 / (1 + (q / self.high_invA) ** (2 * self.order))
        if self.low_invA:
            passed *= 1 / (1 + (q / self.low_invA) ** (2 * self.order))
        passed[0, 0] = 1
        return passed.astype(np.float32)

    def changed(self, wave: Any, xp: Any) -> Any:
        """The transmission (modes, slices, Y, X) as it shall be."""
        return filtered(wave, self.transfer(wave.shape[-2:], xp), xp)

    def potentials_changed(self, phase: Any, absorption: Any, xp: Any) -> tuple[Any, Any]:
        """Phase and absorption (modes, slices, Y, X) as they shall be."""
        passed = self.transfer(phase.shape[-2:], xp)
        return filtered(phase, passed, xp), filtered(absorption, passed, xp)


_AXES = ((slice(None), None), (None, slice(None)))
