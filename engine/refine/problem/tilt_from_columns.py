"""The tilt of the specimen, told from leaning columns.

Free space tilted by tan shifts the wave by d tan between slices, and shifts commute with free space: slices that lean
by the same amount the other way give the same patterns. The loss therefore cannot tell a tilt inside the specimen from
a leaning object; what can is that atoms of neighbouring slices stand in columns. So slices are shifted back until they
stand, and what was taken from the object is added to the tilt, which changes no pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ptylive.schema.model import Array, ComplexArray, DoubleArray

ROUNDS, STEPS = 4, 20
SMALLEST_PX = 1e-5
DISORDER_A = 0.05
"""Displacement between neighbours, beyond that of the tilt, from which on they are no longer one crystal."""
LIKEST = 0.8
"""Correlation of two slices above which their noise no longer limits how well they are aligned, but their disorder."""


class Area(NamedTuple):
    """Where slices are looked at."""

    rows: slice
    columns: slice
    weights: DoubleArray
    """(rows, columns)."""

    @classmethod
    def around(cls, rows: tuple[int, int], columns: tuple[int, int], shape: tuple[int, int], fade_px: int) -> Area:
        """Pixels first to last of an object (Y, X), and ``fade_px`` of fading surroundings where there are so many."""
        found = [_faded(*bounds, size, fade_px) for bounds, size in zip((rows, columns), shape, strict=True)]
        (part, weights), (other, across) = found
        return cls(part, other, weights[:, None] * across)


def upright(
    transmission: ComplexArray, area: Area, spacings_A: Sequence[float], pixel_A: float
) -> tuple[ComplexArray, DoubleArray]:
    """Slices (modes, Z, Y, X) with their columns stood up, and the lean (2,) that was taken away, mrad.

    Measured again on what was stood up, as the faded border holds back.
    """
    lean, stood = np.zeros(2), transmission
    for _ in range(ROUNDS):
        phases = wrapped_phases(stood.mean(axis=0)[:, area.rows, area.columns])
        lean = lean + lean_mrad(phases, area.weights, spacings_A, pixel_A)
        stood = stood_up(transmission, lean, spacings_A, pixel_A)
    return stood, lean


def lean_mrad(phases: Array, weights: Array, spacings_A: Sequence[float], pixel_A: float) -> DoubleArray:
    """Mean lean (2,) of the columns of slices (Z, Y, X), mrad: by how much each slice is displaced from the one before.

    Neighbours with a correlation rho count with rho^2 / (1 - rho^2), the precision with which two noisy pictures of one
    structure are aligned, and less where they are displaced otherwise than the others (Cauchy's weights): between two
    crystals columns end, and where those of the next one stand says nothing of a tilt.
    """
    means = (phases * weights).sum(axis=(1, 2), keepdims=True) / weights.sum()
    spectra = np.fft.fft2((phases - means) * weights)
    found = [_displacement(a, b) for a, b in pairwise(spectra)]
    moved = np.array([shift for shift, _ in found])
    likeness = np.clip([rho for _, rho in found], SMALLEST_PX, LIKEST)
    precision = likeness**2 / (1 - likeness**2)
    distances = np.asarray(spacings_A)[:, None]
    leans = pixel_A * moved / distances
    weight = precision
    for _ in range(STEPS):
        mean = (weight[:, None] * leans).sum(axis=0) / weight.sum()
        away = np.linalg.norm(distances * (leans - mean), axis=1)
        weight = precision / (1 + (away / DISORDER_A) ** 2)
    return np.asarray(1e3 * (weight[:, None] * leans).sum(axis=0) / weight.sum())


def wrapped_phases(slices: ComplexArray) -> DoubleArray:
    """Phases (Z, Y, X) of each slice relative to its mean transmission, rad."""
    means = slices.sum(axis=(1, 2), keepdims=True)
    return np.asarray(np.angle(slices * np.exp(-1j * np.angle(means))), dtype=np.float64)


def stood_up(
    transmission: ComplexArray, lean: DoubleArray, spacings_A: Sequence[float], pixel_A: float
) -> ComplexArray:
    """Slices (modes, Z, Y, X) shifted back by a lean (mrad), the first one left where it is."""
    depth = np.concatenate([[0.0], np.cumsum(spacings_A)])
    shift = -1e-3 * lean[None, :] * depth[:, None] / pixel_A
    frequency = [np.fft.fftfreq(size) for size in transmission.shape[2:]]
    ramp = [np.exp(-2j * np.pi * f[None, :] * shift[:, axis, None]) for axis, f in enumerate(frequency)]
    ramps = ramp[0][:, :, None] * ramp[1][:, None, :]
    return np.asarray(np.fft.ifft2(np.fft.fft2(transmission) * ramps), dtype=np.complex64)


def _displacement(before: Array, after: Array) -> tuple[DoubleArray, float]:
    """Shift (2,) in pixels that brings ``before`` onto ``after`` (spectra), and their correlation there.

    Newton steps up the correlation from 0.
    """
    cross = after * before.conj()
    turn = [2 * np.pi * np.fft.fftfreq(size) for size in cross.shape]
    row, column = turn[0][:, None], turn[1][None, :]
    shift = np.zeros(2)
    for _ in range(STEPS):
        turned = cross * np.exp(1j * (row * shift[0] + column * shift[1]))
        slope = -np.array([(row * turned.imag).sum(), (column * turned.imag).sum()])
        mixed = (row * column * turned.real).sum()
        bend = np.array([[(row**2 * turned.real).sum(), mixed], [mixed, (column**2 * turned.real).sum()]])
        step = np.linalg.solve(bend, slope) if np.linalg.det(bend) > 0 and bend[0, 0] > 0 else np.zeros(2)
        shift = shift + np.clip(step, -1, 1)
        if np.abs(step).max() < SMALLEST_PX:
            break
    together = float((cross * np.exp(1j * (row * shift[0] + column * shift[1]))).real.sum())
    power = float(np.linalg.norm(before) * np.linalg.norm(after))
    return shift, together / power if power > 0 else 0.0


def _faded(first: int, last: int, size: int, fade_px: int) -> tuple[slice, DoubleArray]:
    """Pixels with their surroundings, and weights along them: 1 inside, a cosine down to 0 outside."""
    inner = np.arange(max(first - fade_px, 0), min(last + fade_px, size - 1) + 1)
    outside = np.maximum(np.maximum(first - inner, inner - last), 0)
    weights = 0.5 + 0.5 * np.cos(np.pi * outside / (fade_px + 1))
    return slice(int(inner[0]), int(inner[-1]) + 1), np.asarray(weights)
