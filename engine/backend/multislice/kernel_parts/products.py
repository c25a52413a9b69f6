"""Elementwise products and sums of complex planes, (2, plane): real and imaginary parts, in either precision.

Nearly all pattern-dependent factors have the form exp(i (a(row) + b(column))) (ramps, tilts, descan, longer free space,
defocus), so they are stored as one row and one column instead of a plane.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ptylive.engine.backend.multislice.planes_fft import INNER


@numba.jit(**INNER)
def turn(window: Any, wave: Any, turn: Any, conjugate: Any) -> None:
    """Wave *= turn, on natural planes; conjugated if ``conjugate`` is -1."""
    size, pitch, sign = window.size, window.pitch, wave.dtype.type(conjugate)
    for i in range(size):
        rr, ri = turn[0, 0, i], sign * turn[0, 1, i]
        begin = np.uintp(i * pitch)
        for j in range(size):
            cr, ci = turn[1, 0, j], sign * turn[1, 1, j]
            wr, wi = rr * cr - ri * ci, rr * ci + ri * cr
            k = begin + np.uintp(j)
            a, b = wave[0, k], wave[1, k]
            wave[0, k] = a * wr - b * wi
            wave[1, k] = a * wi + b * wr


@numba.jit(**INNER)
def transmit(window: Any, wave: Any, slice_re: Any, slice_im: Any, start: int, width: int, out: Any) -> None:
    """Out = wave * slice, the slice read in place: its window begins at flat index ``start``."""
    size, pitch = window.size, window.pitch
    for i in range(size):
        row = np.uintp(start + i * width)
        begin = np.uintp(i * pitch)
        for j in range(size):
            k = begin + np.uintp(j)
            a, b = slice_re[row + np.uintp(j)], slice_im[row + np.uintp(j)]
            out[0, k] = wave[0, k] * a - wave[1, k] * b
            out[1, k] = wave[0, k] * b + wave[1, k] * a


@numba.jit(**INNER)
def transmit_back(window: Any, wave: Any, slice_re: Any, slice_im: Any, start: int, width: int, out: Any) -> None:
    """Out = wave * conj(slice)."""
    size, pitch = window.size, window.pitch
    for i in range(size):
        row = np.uintp(start + i * width)
        begin = np.uintp(i * pitch)
        for j in range(size):
            k = begin + np.uintp(j)
            a, b = slice_re[row + np.uintp(j)], slice_im[row + np.uintp(j)]
            out[0, k] = wave[0, k] * a + wave[1, k] * b
            out[1, k] = wave[1, k] * a - wave[0, k] * b


@numba.jit(**INNER)
def multiply(window: Any, wave: Any, factor_re: Any, factor_im: Any, conjugate: Any, out: Any) -> None:
    """Out = wave * factor, conjugated if ``conjugate`` is -1."""
    sign = wave.dtype.type(conjugate)
    for k in range(window.size * window.pitch):
        a, b = factor_re[k], sign * factor_im[k]
        out[0, k] = wave[0, k] * a - wave[1, k] * b
        out[1, k] = wave[0, k] * b + wave[1, k] * a


@numba.jit(**INNER)
def first_intensity(window: Any, wave: Any, background: Any, intensity: Any) -> None:
    """Intensity = background + |wave|^2."""
    for k in range(window.size * window.pitch):
        intensity[k] = background[k] + wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k]


@numba.jit(**INNER)
def add_intensity(window: Any, wave: Any, intensity: Any) -> None:
    """Intensity += |wave|^2."""
    for k in range(window.size * window.pitch):
        intensity[k] += wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k]


@numba.jit(**INNER)
def first_intensity_in_band(window: Any, wave: Any, band: Any, background: Any, intensity: Any) -> None:
    """Intensity = background + |band wave|^2, where the band is a real plane."""
    for k in range(window.size * window.pitch):
        power = wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k]
        intensity[k] = background[k] + band[k] * band[k] * power


@numba.jit(**INNER)
def add_intensity_in_band(window: Any, wave: Any, band: Any, intensity: Any) -> None:
    """Intensity += |band wave|^2."""
    for k in range(window.size * window.pitch):
        intensity[k] += band[k] * band[k] * (wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k])


@numba.jit(**INNER)
def scale_by_square(window: Any, plane: Any, factor: Any) -> None:
    """Plane *= factor^2, both real."""
    for k in range(window.size * window.pitch):
        plane[k] *= factor[k] * factor[k]


@numba.jit(**INNER)
def scale(window: Any, wave: Any, factor: Any) -> None:
    """Wave *= factor, a real plane."""
    for k in range(window.size * window.pitch):
        wave[0, k] *= factor[k]
        wave[1, k] *= factor[k]


@numba.jit(**INNER)
def fill_turned(window: Any, plane: Any, turn: Any, out: Any) -> None:
    """Out = plane * turn, for a complex plane."""
    size, pitch = window.size, window.pitch
    for i in range(size):
        rr, ri = turn[0, 0, i], turn[0, 1, i]
        begin = np.uintp(i * pitch)
        for j in range(size):
            cr, ci = turn[1, 0, j], turn[1, 1, j]
            wr, wi = rr * cr - ri * ci, rr * ci + ri * cr
            k = begin + np.uintp(j)
            out[0, k] = plane[0, k] * wr - plane[1, k] * wi
            out[1, k] = plane[0, k] * wi + plane[1, k] * wr


@numba.jit(**INNER)
def clear(window: Any, plane: Any) -> None:
    """Plane = 0."""
    zero = plane.dtype.type(0)
    for k in range(window.size * window.pitch):
        plane[0, k] = plane[1, k] = zero


@numba.jit(**INNER)
def add_window(window: Any, plane: Any, total_re: Any, total_im: Any, start: int, width: int) -> None:
    """Total += plane in the window that begins at flat index ``start``."""
    size, pitch = window.size, window.pitch
    for i in range(size):
        row = np.uintp(start + i * width)
        begin = np.uintp(i * pitch)
        for j in range(size):
            total_re[row + np.uintp(j)] += plane[0, begin + np.uintp(j)]
            total_im[row + np.uintp(j)] += plane[1, begin + np.uintp(j)]


@numba.jit(**INNER)
def add_moments(window: Any, gradient: Any, wave: Any, axis: Any, phase: Any, out: Any) -> None:
    """Out (3,) += sums of t phase, t axis[row], t axis[column] for t = Im(conj(gradient) wave)."""
    size, pitch = window.size, window.pitch
    zero = gradient.dtype.type(0)
    phases = rows = columns = zero
    for i in range(size):
        row = along = phased = zero
        begin = np.uintp(i * pitch)
        for j in range(size):
            k = begin + np.uintp(j)
            t = gradient[0, k] * wave[1, k] - gradient[1, k] * wave[0, k]
            row += t
            along += t * axis[j]
            phased += t * phase[k]
        phases += phased
        rows += row * axis[i]
        columns += along
    out[0] += phases
    out[1] += rows
    out[2] += columns
