"""What projections cannot see: high frequencies along the beam at low ones across it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.schema.model import FloatArray


def wedge_weights(shape: tuple[int, int, int], distance_A: float, pixel_A: float, beta: float) -> FloatArray:
    """(2/pi) arctan(beta^2 k_z^2 / k_r^2) on the FFT grid (slices, Y, X): 0 where k_z = 0, 1 on the rest of the axis.

    (PyPty leaves k_r^2 := 1 1/Å^2 on the axis, so that its weight there depends on the unit.)
    """
    k_z = np.fft.fftfreq(shape[0], distance_A)[:, None, None]
    k_y = np.fft.fftfreq(shape[1], pixel_A)[None, :, None]
    k_x = np.fft.fftfreq(shape[2], pixel_A)[None, None, :]
    return np.asarray(2 / np.pi * np.arctan2((beta * k_z) ** 2, k_y**2 + k_x**2), dtype=np.float32)


@dataclass(frozen=True)
class MissingWedge:
    """weight * sum_k wedge(k) |F3 O|^2, F3 the unitary transform over slices, rows and columns."""

    weight: float
    wedge: FloatArray
    """(slices, Y, X)."""

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        axes = (-3, -2, -1)
        spectrum = xp.fft.fftn(wave, axes=axes, norm="ortho")
        pull = self.weight * xp.asarray(self.wedge) * spectrum
        value = (pull * spectrum.conj()).real.sum(dtype="float64")
        return Penalised(value, 2 * xp.fft.ifftn(pull, axes=axes, norm="ortho"))
