"""The missing wedge of projections: high frequencies along the beam at low frequencies across it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.regularisers.penalty import Penalised
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import FloatArray


def wedge_weights(shape: tuple[int, int, int], distance_A: float, pixel_A: float, beta: float) -> FloatArray:
    """(2/pi) arctan(beta^2 k_z^2 / k_r^2) on the FFT grid (slices, Y, X): 0 where k_z = 0, 1 on the rest of the axis.

    (PyPty sets k_r^2 := 1 1/Å^2 on the axis, so that its weight there depends on the unit.)
    """
    k_z = np.fft.fftfreq(shape[0], distance_A)[:, None, None]
    k_y = np.fft.fftfreq(shape[1], pixel_A)[None, :, None]
    k_x = np.fft.fftfreq(shape[2], pixel_A)[None, None, :]
    return np.asarray(2 / np.pi * np.arctan2((beta * k_z) ** 2, k_y**2 + k_x**2), dtype=np.float32)


def wedge_between(
    spacings_A: tuple[float, ...], shape: tuple[int, int, int], pixel_A: float, beta: float
) -> FloatArray:
    """Wedge weights for slices ``spacings_A`` apart, 0 for a single slice. Raises MetadataError for uneven spacings."""
    if not spacings_A:  # a slice alone has the frequency 0 along the beam, where the wedge is 0
        return np.zeros(shape, dtype=np.float32)
    if np.ptp(spacings_A) > 1e-3 * spacings_A[0]:
        raise MetadataError(
            "missing_wedge_weight and beta_wedge need slices at equal distances",
            "leave them out, or give one slice_distances_A for all slices",
        )
    return wedge_weights(shape, spacings_A[0], pixel_A, beta)


@regulariser("missing_wedge", acts_on="object", switches=("missing_wedge_weight",), order=40)
@dataclass(frozen=True)
class MissingWedge:
    """weight * sum_k wedge(k) |F3 O|^2, F3 the unitary transform over slices, rows and columns."""

    weight: float
    wedge: FloatArray
    """(slices, Y, X)."""

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> MissingWedge | None:
        """The penalty for one epoch; None if its weight is 0, or for a single slice.

        Raises MetadataError if slices are unevenly spaced.
        """
        weight = context.weight("missing_wedge_weight")
        if weight <= 0 or not context.spacings_A:
            return None
        shape, beta = context.layout.object_shape, context.settings.missing_wedge_beta
        return cls(weight, wedge_between(context.spacings_A, shape, context.grid.pixel_A, beta))

    def of(self, wave: Any, xp: Any) -> Penalised:
        """See :class:`ptylive.engine.refine.regularisers.penalty.Penalty`."""
        axes = (-3, -2, -1)
        spectrum = xp.fft.fftn(wave, axes=axes, norm="ortho")
        pull = self.weight * xp.asarray(self.wedge) * spectrum
        value = (pull * spectrum.conj()).real.sum(dtype="float64")
        return Penalised(value, 2 * xp.fft.ifftn(pull, axes=axes, norm="ortho"))
