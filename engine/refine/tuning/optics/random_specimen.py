"""Whether an image shows atoms at random places or a lattice, and how fine a one, by its power spectrum.

For many atoms at random places each Fourier coefficient is a sum of many independent ones. It is therefore normally
distributed, its power exponentially, and the mean square of the power is twice the square of its mean: fully developed
speckle (Goodman, Speckle Phenomena in Optics, 2007). The few bright frequencies of a lattice raise it far above that.
The finest of them shows what the image resolves.

Frequencies of the scan are left out: short trials of coarse steps show its lattice, as the raster grid pathology of
ptychography (Thibault et al., Ultramicroscopy 109, 338, 2009).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ptylive.engine.backend.device import on_host
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

CONTRAST = 2.5
"""Mean square of the power over the square of its mean, in rings, below which a specimen is random. Films and particles
in ice have 1.9 to 2.3, lattices 2.8 and more (docs/measured/automatic/orientation.md)."""
RINGS = 8
"""Number of rings within one semi-angle."""
EDGE = 0.05
"""Share of the positions on each side beyond which the phase is ignored."""
LEAST_FREQUENCIES = 24
"""Minimum per ring: the mean square of n exponential values is on average 2 n / (n + 1) times the squared mean."""
STANDS_OUT = 20.0
"""Power of a lattice over the mean of noise. None of 300 pictures of noise showed one, a few of 100 with 14: the
largest of n independent powers is log(n) times their mean, but a window correlates neighbours."""
MAIN_LOBE = 2.0
"""Half the width of a peak's image by the window, in frequencies."""


def projected_phase(problem: Problem, vector: Any) -> tuple[DoubleArray, DoubleArray, Lattice | None]:
    """Phase of a phase object in the parameters of a trial, added over its slices, its pixel size and its scan.

    (rows, columns), in the area of the positions except those at the rim.
    """
    slices = on_host(problem.layout.object_block(vector)).astype(np.float64).reshape(-1, *problem.grid.shape)
    phase = slices.sum(axis=0)
    pixels = (problem.positions_A - problem.grid.origin_A) / problem.grid.pixel_A
    first, last = (np.round(np.quantile(pixels, share, axis=0)).astype(int) for share in (EDGE, 1 - EDGE))
    pixel_A = np.broadcast_to(np.asarray(problem.grid.pixel_A, dtype=np.float64), 2)
    shown = phase[first[0] : last[0] + 1, first[1] : last[1] + 1]
    return shown, pixel_A, Lattice.of(problem.measured.dataset)


def semiangle_invA(dataset: Dataset) -> float:
    """Semi-angle of the aperture; energy and semi-angle must be known."""
    semiangle_mrad = dataset.calibration.require("convergence_semiangle_mrad", "atoms at random")
    return 1e-3 * float(semiangle_mrad) / float(dataset.calibration.wavelength_A or 1.0)


def is_random(picture: DoubleArray, pixel_A: DoubleArray, scan: Lattice | None, semiangle_invA: float) -> bool:
    """Whether an image (rows, columns) shows no lattice up to the resolution of the bright field."""
    return spectral_contrast(picture, pixel_A, scan, semiangle_invA) < CONTRAST


def spectral_contrast(picture: DoubleArray, pixel_A: DoubleArray, scan: Lattice | None, semiangle_invA: float) -> float:
    """Mean square of the power relative to that of its ring; inf if no ring holds enough frequencies."""
    power, q_invA, ring = _spectrum(picture, pixel_A, scan, semiangle_invA)
    number = np.bincount(ring)
    mean = np.bincount(ring, power) / np.maximum(number, 1)
    covered = (q_invA < 2 * semiangle_invA) & (number[ring] >= LEAST_FREQUENCIES) & (mean[ring] > 0)
    if not covered.any():
        return float("inf")
    relative = power[covered] / mean[ring][covered]
    return float(np.mean(relative**2))


def finest_period_A(picture: DoubleArray, pixel_A: DoubleArray, scan: Lattice | None, semiangle_invA: float) -> float:
    """Period of the finest frequency of an image (rows, columns) that stands out of its ring; inf if none does.

    The mean of noise is taken from the median of the ring, which a lattice hardly raises: it is log(2) of the mean.
    """
    power, q_invA, ring = _spectrum(picture, pixel_A, scan, semiangle_invA)
    for number in range(int(ring.max()), 0, -1):
        within = ring == number
        count = np.count_nonzero(within)
        if count < 2 * LEAST_FREQUENCIES:  # of fewer the median is no measure of the mean
            continue
        noise = float(np.median(power[within])) / math.log(2)
        outstanding = within & (power > STANDS_OUT * noise)
        if outstanding.any():
            return 1.0 / float(q_invA[outstanding].max())
    return math.inf


def _spectrum(
    picture: DoubleArray, pixel_A: DoubleArray, scan: Lattice | None, semiangle_invA: float
) -> tuple[DoubleArray, DoubleArray, IndexArray]:
    """Power of each frequency of an image (rows, columns), the frequency and its ring, each (frequencies,)."""
    window = np.outer(*(np.hanning(size) for size in picture.shape))
    power = np.abs(np.fft.fft2((picture - picture.mean()) * window)) ** 2
    axes = (np.fft.fftfreq(size, pixel) for size, pixel in zip(picture.shape, pixel_A, strict=True))
    frequencies_invA = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    of_specimen = ~_of_scan(frequencies_invA, scan, MAIN_LOBE / float(np.min(picture.shape * pixel_A)))
    q_invA = np.hypot(*frequencies_invA[of_specimen].T)
    return power.ravel()[of_specimen], q_invA, (q_invA / semiangle_invA * RINGS).astype(int)


def _of_scan(frequencies_invA: DoubleArray, scan: Lattice | None, within_invA: float) -> BoolArray:
    """Whether frequencies (n, 2) are those of the lattice of a scan, 0 among them; none are without a lattice."""
    if scan is None:
        return np.zeros(len(frequencies_invA), dtype=bool)
    steps_A = np.column_stack([scan.slow, scan.fast])
    cycles = frequencies_invA @ steps_A
    apart_invA = (cycles - np.round(cycles)) @ np.linalg.inv(steps_A)
    return np.asarray(np.hypot(*apart_invA.T) <= within_invA)
