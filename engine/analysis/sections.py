"""Cuts through a multislice object along the beam."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema import MetadataError
from ptylive.schema.model import FloatArray

Point = tuple[float, float]


@dataclass(frozen=True)
class DepthSection:
    """Phase below a line."""

    phase: FloatArray
    """(slices, points) rad."""
    sampling_A: tuple[float, float]
    """Distance between slices, and between points of the line."""


def middle_line(shape: tuple[int, int], pixel_A: float) -> tuple[Point, Point] | None:
    """Return the middle row of an object of ``shape`` pixels (rows, columns), Å; the middle column where rows are a
    single pixel, and None for a single pixel.
    """
    height, width = ((pixels - 1) * pixel_A for pixels in shape)
    if width > 0:
        return (height / 2, 0.0), (height / 2, width)
    return ((0.0, 0.0), (height, 0.0)) if height > 0 else None


def depth_section(
    phase: FloatArray, pixel_A: float, spacing_A: float, line_A: tuple[Point, Point], width_A: float = 0.0
) -> DepthSection:
    """Return the phase (slices, Y, X) below a line between two points (row, col), Å, averaged over ``width_A`` across.

    Interpolated by cubic splines. Raises MetadataError for a line without length or outside the object.
    """
    from scipy.ndimage import map_coordinates

    start, end = (np.asarray(point, dtype=float) for point in line_A)
    length = float(np.hypot(*(end - start)))
    if length < pixel_A:
        raise MetadataError("the line is shorter than a pixel", "give two points: ROW,COL,ROW,COL in Å")
    limits = (np.asarray(phase.shape[1:]) - 1) * pixel_A
    if np.any(np.minimum(start, end) < 0) or np.any(np.maximum(start, end) > limits + 1e-9):
        raise MetadataError(f"the line leaves the object of {limits[0]:.4g} x {limits[1]:.4g} Å", "choose it inside")
    count = int(length / pixel_A) + 1
    direction = (end - start) / length
    across = np.array([-direction[1], direction[0]])
    lines = max(1, 2 * round(width_A / pixel_A / 2) + 1)
    offsets = (np.arange(lines) - lines // 2) * pixel_A
    points = start + np.arange(count)[:, None] * pixel_A * direction
    pixels = (points[None] + offsets[:, None, None] * across) / pixel_A
    sections = [
        map_coordinates(plane.astype(np.float64), np.moveaxis(pixels, -1, 0), order=3, mode="nearest").mean(axis=0)
        for plane in phase
    ]
    return DepthSection(np.asarray(sections, dtype=np.float32), (spacing_A, pixel_A))
