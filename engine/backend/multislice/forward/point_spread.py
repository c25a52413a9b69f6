"""The detector's point spread: each electron is counted in the pixel that it hits or in a nearby one.

    I <- k * I     k >= 0, sum k = 1; a circular convolution over the window

The Gaussian is the discrete one (Lindeberg, IEEE Trans. Pattern Anal. Mach. Intell. 12 (1990) 234), of variance t, and
never negative, however narrow:

    F k = exp(-t (2 - cos 2 pi f_row - cos 2 pi f_col))     dI/dt = laplacian(I) / 2

with the five-point Laplacian of neighbouring pixels. A measured image can be applied in addition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.description import PointSpread
from ptylive.engine.backend.multislice.forward.arrays import ArrayKit


class PointSpreadBlock:
    """Point spread of counts (n, p, p) in the detector's pixels, zero frequency at [0, 0]."""

    def __init__(self, kit: ArrayKit, spread: PointSpread, size: int) -> None:
        self._kit = kit
        turn = 1 - np.cos(2 * np.pi * np.fft.fftfreq(size))
        self._rate = kit.xp.asarray(turn[:, None] + turn[None, :])
        self._image: Any = None
        if spread.image is not None:
            self._image = kit.xp.asarray(np.fft.fft2(np.asarray(spread.image, dtype=np.float64)))

    def spread(self, counts: Any, variance_px2: Any) -> Any:
        """Return the counts after the spread; slightly negative values from rounding become 0."""
        return self._kit.xp.maximum(self._filtered(counts, self._transfer(variance_px2)), 0)

    def spread_any(self, planes: Any, variance_px2: Any) -> Any:
        """Spread planes of either sign."""
        return self._filtered(planes, self._transfer(variance_px2))

    def adjoint(self, gradient: Any, variance_px2: Any) -> Any:
        """Gradient by the counts before the spread, from that by the counts after it."""
        return self._filtered(gradient, self._transfer(variance_px2).conj())

    def by_variance(self, gradient: Any, counts: Any) -> Any:
        """Derivative by the variance, from the gradient by the counts after the spread and these counts."""
        xp = self._kit.xp
        around = sum(xp.roll(counts, step, axis) for axis in (1, 2) for step in (1, -1))
        return (gradient * (0.5 * around - 2 * counts)).sum(dtype=np.float64)

    def _transfer(self, variance_px2: Any) -> Any:
        transfer = self._kit.xp.exp(-variance_px2 * self._rate)
        return (transfer if self._image is None else transfer * self._image).astype(self._kit.complex)

    def _filtered(self, planes: Any, transfer: Any) -> Any:
        return self._kit.filtered(planes, transfer)
