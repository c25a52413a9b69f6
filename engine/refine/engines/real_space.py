"""Probe and object in the form that engines of other programs use: the probe in real space, the object in windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.schema.model import IndexArray

WINDOWS_AT_ONCE = 1 << 22
"""Pixels of windows that are gathered at once."""


def to_real_space(planes: Any, xp: Any) -> Any:
    """Convert planes (2, ..., P, P) of a probe in Fourier space to complex waves (..., P, P); unitary."""
    return _kit(xp).inverse(planes[0] + 1j * planes[1])


def to_fourier_space(waves: Any, xp: Any) -> Any:
    """Inverse, and adjoint, of :func:`to_real_space`."""
    spectrum = _kit(xp).fft(waves)
    return xp.stack([spectrum.real, spectrum.imag])


def summed_windows(plane: Any, corners: IndexArray, window: int, weights: Any, xp: Any) -> Any:
    """Sum of weight times window (P, P) over patterns: plane (Y, X), corners (n, 2), weights (n,)."""
    inside, total = np.arange(window), xp.zeros((window, window), plane.dtype)
    size = max(1, WINDOWS_AT_ONCE // window**2)
    for start in range(0, len(corners), size):
        at = corners[start : start + size]
        rows, columns = at[:, 0, None, None] + inside[:, None], at[:, 1, None, None] + inside
        total += xp.tensordot(weights[start : start + size], plane[xp.asarray(rows), xp.asarray(columns)], 1)
    return total


def object_power(planes: Any) -> Any:
    """|O|^2 of the first slice, averaged over object modes (Y, X), from planes (2, modes, slices, Y, X)."""
    return (planes[0, :, 0] ** 2 + planes[1, :, 0] ** 2).mean(axis=0)


def _kit(xp: Any) -> ArrayKit:
    return ArrayKit(xp, np.dtype(np.complex64))
