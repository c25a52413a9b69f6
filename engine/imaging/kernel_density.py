"""Aligned images combined by kernel density, as in py4DSTEM's parallax, instead of Fourier shifts.

Every point of every bright-field pixel's image is moved back into place, spread by a Gaussian and counted; the picture
is the spread sum over the count, relative to the mean. If the shifts leave gaps between the points, a Fourier sum shows
the gaps as a lattice; the quotient does not. Both sums are convolutions over the scan, so each is one product in
Fourier space and one transform. Varnavides et al. 2023, section 4; docs/theory/live-maps.md.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Spectra
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.schema import MetadataError
from ptylive.schema.model import ComplexArray, FloatArray

LEAST_DENSITY = 0.05
"""Share of the highest density below which the picture is blank, because a quotient there would be noise."""


def kernel_band(conditions: ImagingConditions, upsample: float, setting: str) -> Band:
    """Return all frequencies of the finer grid: gaps between shifted points extend beyond the band of the disc.

    Raises MetadataError for points off a regular grid, or if the filters do not fit in memory.
    """
    if conditions.placement is not None:
        raise MetadataError(f"{setting} needs points on a regular grid", f"leave {setting} out")
    return conditions.band(upsample, whole_for=setting)


def normalised(
    spectra: Spectra, band: Band, weights: ComplexArray, spectrum: ComplexArray, kernel_steps: float
) -> ComplexArray:
    """Return the values (nb,) of the picture with sum ``spectrum`` (nb,), divided by the density of its points.

    ``weights`` (nb, N): the weights of that sum, for patterns of unit mean; ``kernel_steps``: standard deviation of the
    Gaussian, in scan steps.
    """
    damping = _damping(band, kernel_steps)
    rows, cols = spectra.visited.shape
    points = np.zeros(band.grid.padded, np.float32)
    points[:rows, :cols] = spectra.visited
    index, sign = band.kept
    transform = fft.rfft2(points).T.reshape(-1)[index]
    density_spectrum = (weights @ spectra.mean.astype(np.float32)) * np.where(sign < 0, transform.conj(), transform)
    total, density = (_image(band, values * damping) for values in (spectrum, density_spectrum))
    dense = density > LEAST_DENSITY * density.max()
    picture = np.where(dense, total / np.where(dense, density, np.float32(1)), np.float32(0))
    return np.asarray(band.gather(fft.rfft2(picture)) / np.float32(math.prod(band.grid.finer)))


def _damping(band: Band, kernel_steps: float) -> FloatArray:
    sigma_A = kernel_steps * math.sqrt(math.prod(band.grid.step_A))
    return np.asarray(np.exp(-2.0 * (math.pi * sigma_A) ** 2 * (band.q**2).sum(axis=1)), dtype=np.float32)


def _image(band: Band, values: ComplexArray) -> FloatArray:
    """Return the image of half-plane values, padding included."""
    return np.asarray(fft.irfft2(band.spread(values), s=band.grid.size), dtype=np.float32)
