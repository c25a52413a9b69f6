"""The tilt of the specimen, told from leaning columns.

Free space tilted by tan shifts the wave by d tan between slices, and shifts commute with free space: slices that lean
by the same amount the other way give the same patterns. The loss therefore cannot tell a tilt inside the specimen from
a leaning object; what can is that atoms of neighbouring slices stand in columns. So slices are shifted back until they
stand, and what was taken from the object is added to the tilt, which changes no pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ptylive.schema.model import Array, ComplexArray, DoubleArray

ROUNDS, STEPS = 4, 20
SMALLEST_PX = 1e-5


def upright(
    transmission: ComplexArray, area: tuple[slice, slice], spacings_A: Sequence[float], pixel_A: float
) -> tuple[ComplexArray, DoubleArray]:
    """Slices (modes, Z, Y, X) with their columns stood up, and the lean (2,) that was taken away, mrad.

    area: rows and columns of the scanned part. Measured again on what was stood up, as the faded border holds back.
    """
    lean, stood = np.zeros(2), transmission
    for _ in range(ROUNDS):
        lean = lean + lean_mrad(wrapped_phases(stood.mean(axis=0)[(slice(None), *area)]), spacings_A, pixel_A)
        stood = stood_up(transmission, lean, spacings_A, pixel_A)
    return stood, lean


def lean_mrad(phases: Array, spacings_A: Sequence[float], pixel_A: float) -> DoubleArray:
    """Mean lean (2,) of the columns of slices (Z, Y, X), mrad: by how much each slice is displaced from the one before.

    Every pair of neighbours counts alike. Phases should show the scanned area only; their border is faded out.
    """
    rows, columns = phases.shape[1:]
    fade = np.hanning(rows)[:, None] * np.hanning(columns)
    spectra = np.fft.fft2((phases - phases.mean(axis=(1, 2), keepdims=True)) * fade)
    moved = np.array([_displacement_px(a, b) for a, b in pairwise(spectra)])
    return np.asarray(1e3 * pixel_A * (moved / np.asarray(spacings_A)[:, None]).mean(axis=0))


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


def _displacement_px(before: Array, after: Array) -> DoubleArray:
    """Shift (2,) that brings ``before`` onto ``after`` (spectra): Newton steps up the correlation from 0."""
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
    return shift
