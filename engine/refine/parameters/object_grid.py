"""The object's pixel grid: the place of each pattern's window on it, and its own place among the positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.backend.multislice.fast_sizes import quick_width
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray
from ptylive.schema.scan import rotation_matrix

MARGIN_PX = 2
"""Pixels beyond the outermost windows: positions that are refined may move by as many."""
MOST_PIXELS = 2**31


@dataclass(frozen=True)
class ObjectGrid:
    """Object pixels of size ``pixel_A``; a window's pixel (P // 2, P // 2) + shift is the probe's position."""

    pixel_A: float
    shape: tuple[int, int]
    origin_A: DoubleArray
    """(2,) position of pixel (0, 0) in the coordinate system of the positions."""
    corners: IndexArray
    """(N, 2) first pixel of each window."""
    shifts_px: DoubleArray
    """(N, 2) sub-pixel remainder of each position, within +- 0.5 pixel."""

    @classmethod
    def of(
        cls,
        positions_A: DoubleArray,
        pixel_A: float,
        window: int,
        reach_A: DoubleArray | None = None,
        extra_px: int = 0,
    ) -> ObjectGrid:
        """The smallest grid that holds the windows of all positions and of ``reach_A`` (n, 2), with a margin.

        It is one column wider where its rows would otherwise compete for the same lines of the CPU's caches.
        """
        half, margin = window // 2, MARGIN_PX + extra_px
        covered_A = positions_A if reach_A is None else np.concatenate([positions_A, reach_A])
        origin = covered_A.min(axis=0) - (half + margin) * pixel_A
        _check_size((np.ptp(covered_A, axis=0) / pixel_A) + window + 2 * margin, pixel_A)
        pixel = (positions_A - origin) / pixel_A
        nearest = np.floor(pixel + 0.5)
        corners = nearest.astype(np.int64) - half
        last_corner = np.floor((covered_A.max(axis=0) - origin) / pixel_A + 0.5).astype(np.int64) - half
        rows, columns = last_corner + window + margin
        return cls(pixel_A, (int(rows), quick_width(int(columns))), origin, corners, pixel - nearest)

    def resample(self, start: StartGuess, image: FloatArray | None = None) -> FloatArray:
        """Resample a phase image onto this grid (Y, X); beyond its border the edge values continue.

        ``image``: another image with the same pixels, used instead.
        """
        from scipy.ndimage import map_coordinates

        rows, columns = self.shape
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        position = np.stack([y, x], -1) * self.pixel_A + self.origin_A
        from_first = position - np.asarray(start.origin_A)
        along_scan = from_first @ rotation_matrix(start.rotation_deg) / np.asarray(start.sampling_A)
        values = np.asarray(start.phase if image is None else image, dtype=np.float64)
        return np.asarray(map_coordinates(values, np.moveaxis(along_scan, -1, 0), order=3, mode="nearest"), np.float32)


def _check_size(pixels: DoubleArray, pixel_A: float) -> None:
    """Refuse a grid (rows, columns) that no memory holds, before arrays are allocated. Raises RefinementError."""
    if not float(np.prod(pixels)) < MOST_PIXELS:
        raise RefinementError(
            f"the object would have {pixels[0]:.3g} x {pixels[1]:.3g} pixels of {pixel_A:.3g} Å",
            "check scan_step_A, detector_pixel_mrad, energy_eV and convergence_semiangle_mrad",
        )
