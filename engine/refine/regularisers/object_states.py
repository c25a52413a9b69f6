"""Object states that differ in detail only, as by thermal motion, not on large scales like different specimens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser


@regulariser("mixed_variance", acts_on="object", switches=("mixed_variance_weight",), order=50)
@dataclass(frozen=True)
class MixedVariance:
    """weight / M * sum_m |L O_m - mean_m L O|^2, L the low pass exp(-f^2 / sigma^2), M states (PyPty: mixed_variance).

    f in cycles per pixel, each slice separately. Gradient 2 weight / M * L (L O_m - mean_m L O).
    """

    weight: float
    sigma: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> MixedVariance | None:
        """The penalty for one epoch; None if its weight is 0, or there is only one state."""
        weight = context.weight("mixed_variance_weight")
        return (
            cls(weight, context.settings.mixed_variance_sigma)
            if weight > 0 and context.layout.object_modes > 1
            else None
        )

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        f_y, f_x = xp.fft.fftfreq(wave.shape[-2]), xp.fft.fftfreq(wave.shape[-1])
        low = xp.exp(-(f_y[:, None] ** 2 + f_x[None, :] ** 2) / self.sigma**2).astype(wave.real.dtype)
        spectrum = low * xp.fft.fft2(wave, norm="ortho")
        spectrum -= spectrum.mean(axis=0)
        factor = self.weight / len(wave)
        value = factor * (abs(spectrum) ** 2).sum(dtype="float64")
        return Penalised(value, 2 * factor * xp.fft.ifft2(low * spectrum, norm="ortho"))
