"""Atom columns in a phase image: their positions, strengths and widths, and their course through the slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import Array, DoubleArray, FloatArray

MOST_COLUMNS = 100_000


@dataclass(frozen=True)
class Columns:
    """Atom columns, strongest first."""

    positions_A: DoubleArray
    """(n, 2) from object pixel (0, 0), sub-pixel."""
    peaks_rad: DoubleArray
    """(n,) phase at the peak above the surrounding background."""
    widths_A: DoubleArray
    """(n,) standard deviation of the Gaussian with the peak's curvature."""
    profile_radii_A: DoubleArray
    """(rings,) distance from the column."""
    profile_rad: DoubleArray
    """(rings,) phase around a column, averaged over all columns."""
    depth_profiles_rad: DoubleArray
    """(n, slices) phase of each slice around each column, mean over a disc of the search radius."""


def find_columns(phase: FloatArray, pixel_A: float, *, radius_A: float = 0.6, share: float = 0.3) -> Columns:
    """Find columns in a stack of slices (slices, Y, X): local maxima of its sum within ``radius_A``, less background.

    Peaks above ``share`` of the strongest are kept. Positions are those of the parabola through the three pixels along
    each axis; widths follow from its curvature, sigma^2 = -peak / second derivative.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    reach = max(1, min(round(radius_A / pixel_A), min(phase.shape[1:]) // 2))  # no pixel is further away
    total = np.asarray(phase, dtype=np.float64).sum(axis=0)
    flat = total - gaussian_filter(total, 4 * reach, mode="nearest")
    peaks = (maximum_filter(flat, footprint=_disc(reach)) == flat) & (flat > share * flat.max())
    peaks[:reach], peaks[-reach:], peaks[:, :reach], peaks[:, -reach:] = False, False, False, False
    rows, cols = np.nonzero(peaks)
    order = np.argsort(flat[rows, cols])[::-1][:MOST_COLUMNS]
    rows, cols = rows[order], cols[order]
    shift_row, curvature_row = _parabola(flat[rows - 1, cols], flat[rows, cols], flat[rows + 1, cols])
    shift_col, curvature_col = _parabola(flat[rows, cols - 1], flat[rows, cols], flat[rows, cols + 1])
    height = flat[rows, cols]
    curvature = np.maximum(-(curvature_row + curvature_col) / 2, 1e-12)
    radii, profile = _radial_profile(flat, rows, cols, 2 * reach)
    return Columns(
        positions_A=np.stack([rows + shift_row, cols + shift_col], axis=1) * pixel_A,
        peaks_rad=height,
        widths_A=np.sqrt(np.maximum(height, 0) / curvature) * pixel_A,
        profile_radii_A=radii * pixel_A,
        profile_rad=profile,
        depth_profiles_rad=_through_slices(phase, rows, cols, reach),
    )


def _disc(reach: int) -> Array:
    y, x = np.indices((2 * reach + 1, 2 * reach + 1)) - reach
    return np.asarray(np.hypot(y, x) <= reach)


def _parabola(before: DoubleArray, center: DoubleArray, after: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return vertex and second derivative of the parabola through three neighbours, pixels."""
    curvature = before - 2 * center + after
    return np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature == 0, -1, curvature), 0.0), curvature


def _radial_profile(flat: DoubleArray, rows: Array, cols: Array, reach: int) -> tuple[DoubleArray, DoubleArray]:
    """Return the mean over columns and directions at integer pixel distances; columns near the border are left out."""
    y, x = np.indices((2 * reach + 1, 2 * reach + 1)) - reach
    ring = np.rint(np.hypot(y, x)).astype(int)
    inside = (rows >= reach) & (cols >= reach) & (rows < flat.shape[0] - reach) & (cols < flat.shape[1] - reach)
    total = np.zeros(ring.shape)
    for row, col in zip(rows[inside], cols[inside], strict=True):
        total += flat[row - reach : row + reach + 1, col - reach : col + reach + 1]
    mean = total / max(int(inside.sum()), 1)
    profile = np.bincount(ring.ravel(), mean.ravel()) / np.bincount(ring.ravel())
    return np.arange(reach + 1.0), profile[: reach + 1]


def _through_slices(phase: FloatArray, rows: Array, cols: Array, reach: int) -> DoubleArray:
    """Return the mean (n, slices) over the disc around each column, less the mean of the slice."""
    y, x = np.nonzero(_disc(reach))
    discs = phase[:, rows[:, None] + y - reach, cols[:, None] + x - reach]
    return np.asarray((discs.mean(axis=2) - phase.mean(axis=(1, 2))[:, None]).T, dtype=np.float64)
