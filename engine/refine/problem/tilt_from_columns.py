"""The tilt of the specimen from the shear of its atom columns.

A tilt inside the specimen shifts the wave by d tan between slices. Shifts commute with free-space propagation, so
slices sheared by the same amount in the opposite direction give the same patterns: the loss cannot distinguish a tilt
from a sheared object. The atoms of neighbouring slices, which form columns along the beam, can. The displacements
between neighbouring slices are measured by cross-correlation, the slices are shifted back, and the shear is added to
the tilt, which leaves every pattern unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ptylive.schema.model import Array, ComplexArray, DoubleArray

ROUNDS, STEPS = 4, 20
"""Rounds of shear removal, each measured on the columns as they then are, and most steps of a fit in one."""
SMALLEST_PX = 1e-5
"""Step at which a fit has settled, far below what noise leaves uncertain; also the least correlation considered."""
DISORDER_A = 0.05
"""Neighbours displaced further than this, beyond the tilt, are treated as parts of different crystals."""
MAX_CORRELATION = 0.8
"""Upper limit for correlations of two slices: above it, disorder rather than noise limits their alignment."""


class Area(NamedTuple):
    """The part of the slices that is correlated."""

    rows: slice
    columns: slice
    weights: DoubleArray
    """(rows, columns) weights."""

    @classmethod
    def around(cls, rows: tuple[int, int], columns: tuple[int, int], shape: tuple[int, int], fade_px: int) -> Area:
        """Area between the first and last pixels of an object (Y, X), with a faded border of ``fade_px`` if it fits."""
        profiles = [_faded(*bounds, size, fade_px) for bounds, size in zip((rows, columns), shape, strict=True)]
        (rows_part, weights), (columns_part, across) = profiles
        return cls(rows_part, columns_part, weights[:, None] * across)


def remove_shear(
    transmission: ComplexArray, area: Area, spacings_A: Sequence[float], pixel_A: float
) -> tuple[ComplexArray, DoubleArray]:
    """Remove the shear of the columns; return the slices (modes, Z, Y, X) and the shear (2,), mrad.

    Iterated, because the faded border does not move with the slices and makes each measurement too small.
    """
    shear, straight = np.zeros(2), transmission
    for _ in range(ROUNDS):
        phases = wrapped_phases(straight.mean(axis=0)[:, area.rows, area.columns])
        shear = shear + shear_mrad(phases, area.weights, spacings_A, pixel_A)
        straight = shift_slices(transmission, shear, spacings_A, pixel_A)
    return straight, shear


def shear_mrad(phases: Array, weights: Array, spacings_A: Sequence[float], pixel_A: float) -> DoubleArray:
    """Mean shear (2,) of slices (Z, Y, X), mrad: displacement of each slice from the previous one over their distance.

    Neighbours with a correlation rho are weighted by rho^2 / (1 - rho^2), the precision with which two noisy images of
    one structure are aligned. Outliers are weighted down (Cauchy weights): columns end between two crystals, and the
    displacement from one crystal to the next says nothing about a tilt.
    """
    means = (phases * weights).sum(axis=(1, 2), keepdims=True) / weights.sum()
    spectra = np.fft.fft2((phases - means) * weights)
    displacements = [_displacement(a, b) for a, b in pairwise(spectra)]
    moved = np.array([shift for shift, _ in displacements])
    correlation = np.clip([rho for _, rho in displacements], SMALLEST_PX, MAX_CORRELATION)
    precision = correlation**2 / (1 - correlation**2)
    distances = np.asarray(spacings_A)[:, None]
    shears = pixel_A * moved / distances
    weight = precision
    for _ in range(STEPS):
        mean = (weight[:, None] * shears).sum(axis=0) / weight.sum()
        distance_A = np.linalg.norm(distances * (shears - mean), axis=1)
        weight = precision / (1 + (distance_A / DISORDER_A) ** 2)
    return np.asarray(1e3 * (weight[:, None] * shears).sum(axis=0) / weight.sum())


def wrapped_phases(slices: ComplexArray) -> DoubleArray:
    """Phases (Z, Y, X) of each slice relative to its mean transmission, rad."""
    means = slices.sum(axis=(1, 2), keepdims=True)
    return np.asarray(np.angle(slices * np.exp(-1j * np.angle(means))), dtype=np.float64)


def shift_slices(
    transmission: ComplexArray, shear: DoubleArray, spacings_A: Sequence[float], pixel_A: float
) -> ComplexArray:
    """Shift slices (modes, Z, Y, X) against a shear (mrad); the first one stays."""
    depth = np.concatenate([[0.0], np.cumsum(spacings_A)])
    shift = -1e-3 * shear[None, :] * depth[:, None] / pixel_A
    frequency = [np.fft.fftfreq(size) for size in transmission.shape[2:]]
    ramp = [np.exp(-2j * np.pi * f[None, :] * shift[:, axis, None]) for axis, f in enumerate(frequency)]
    ramps = ramp[0][:, :, None] * ramp[1][:, None, :]
    return np.asarray(np.fft.ifft2(np.fft.fft2(transmission) * ramps), dtype=np.complex64)


def _displacement(before: Array, after: Array) -> tuple[DoubleArray, float]:
    """Shift (2,) in pixels that aligns ``before`` with ``after`` (spectra), and their correlation at this shift.

    Newton's method on the correlation, starting from 0.
    """
    cross = after * before.conj()
    turn = [2 * np.pi * np.fft.fftfreq(size) for size in cross.shape]
    row, column = turn[0][:, None], turn[1][None, :]
    shift = np.zeros(2)
    for _ in range(STEPS):
        turned = cross * np.exp(1j * (row * shift[0] + column * shift[1]))
        gradient = -np.array([(row * turned.imag).sum(), (column * turned.imag).sum()])
        mixed = (row * column * turned.real).sum()
        hessian = np.array([[(row**2 * turned.real).sum(), mixed], [mixed, (column**2 * turned.real).sum()]])
        step = np.linalg.solve(hessian, gradient) if np.linalg.det(hessian) > 0 and hessian[0, 0] > 0 else np.zeros(2)
        shift = shift + np.clip(step, -1, 1)
        if np.abs(step).max() < SMALLEST_PX:
            break
    together = float((cross * np.exp(1j * (row * shift[0] + column * shift[1]))).real.sum())
    power = float(np.linalg.norm(before) * np.linalg.norm(after))
    return shift, together / power if power > 0 else 0.0


def _faded(first: int, last: int, size: int, fade_px: int) -> tuple[slice, DoubleArray]:
    """Pixels with their surroundings, and weights along them: 1 inside, falling as a cosine to 0 outside."""
    inner = np.arange(max(first - fade_px, 0), min(last + fade_px, size - 1) + 1)
    outside = np.maximum(np.maximum(first - inner, inner - last), 0)
    weights = 0.5 + 0.5 * np.cos(np.pi * outside / (fade_px + 1))
    return slice(int(inner[0]), int(inner[-1]) + 1), np.asarray(weights)
