"""Whether an image shows atoms at random places or a lattice, by the statistics of its power spectrum.

For many atoms at random places each Fourier coefficient is a sum of many independent ones. It is therefore normally
distributed, its power exponentially, and the mean square of the power is twice the square of its mean: fully developed
speckle (Goodman, Speckle Phenomena in Optics, 2007). The few bright frequencies of a lattice raise it far above that.
"""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import DoubleArray

CONTRAST = 2.5
"""Mean square of the power over the square of its mean, in rings, below which a specimen is random. Films and particles
in ice have 1.9 to 2.3, lattices 2.8 and more (docs/automatic/orientation.md)."""
RINGS = 8
"""Number of rings within one semi-angle."""
LEAST_FREQUENCIES = 24
"""Minimum per ring: the mean square of n exponential values is on average 2 n / (n + 1) times the squared mean."""


def is_random(picture: DoubleArray, pixel_A: DoubleArray, semiangle_invA: float) -> bool:
    """Whether an image (rows, columns) shows no lattice up to the resolution of the bright field."""
    return spectral_contrast(picture, pixel_A, semiangle_invA) < CONTRAST


def spectral_contrast(picture: DoubleArray, pixel_A: DoubleArray, semiangle_invA: float) -> float:
    """Mean square of the power relative to that of its ring; inf if no ring holds enough frequencies."""
    window = np.outer(*(np.hanning(size) for size in picture.shape))
    power = np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
    axes = (np.fft.fftfreq(size, pixel) for size, pixel in zip(picture.shape, pixel_A, strict=True))
    q_invA = np.hypot(*np.meshgrid(*axes, indexing="ij"))
    ring = (q_invA / semiangle_invA * RINGS).astype(int)
    number = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), power.ravel()) / np.maximum(number, 1)
    covered = (q_invA < 2 * semiangle_invA) & (number[ring] >= LEAST_FREQUENCIES) & (mean[ring] > 0)
    if not covered.any():
        return float("inf")
    relative = power[covered] / mean[ring][covered]
    return float(np.mean(relative**2))
