"""A refined object as seen by the scan: in the frame of the live maps, with pixel (0, 0) at scan point (0, 0).

The object lies along the axes of the detector, maps along those of the scan: a position on the object is R(rotation)
times the place on the scan (docs/conventions.md). Maps of points off a grid lie along the detector's axes, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from ptylive.engine.analysis.fourier_correlation import scanned_area
from ptylive.engine.stored_run import StoredRun
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix

MOST_PIXELS = 4096**2
BAND_PIXELS = 2**20
"""Number of pixels of the picture read at a time."""
OFF_GRID = 0.5
"""Largest root-mean-square distance of positions from a grid, in steps, at which they determine the scan's axes."""
REACH = 0.75
"""Distance, in diagonals of a step, from a pixel to the next position within which the object was illuminated."""
WRAPPED = 1e-3
"""Share of neighbours with phases differing by more than half a turn from which a phase counts as wrapped."""


@dataclass(frozen=True, eq=False)
class ScanFrame:
    """Map from places on a scan to an object: ``origin_A`` (2,) + ``matrix`` (2, 2) times (row, column), all Å."""

    origin_A: DoubleArray
    matrix: DoubleArray

    @classmethod
    def turned(cls, rotation_deg: float, origin_A: tuple[float, float] = (0.0, 0.0)) -> ScanFrame:
        """Make the frame of a scan with rotated axes; ``origin_A``: of its first pixel."""
        return cls(np.asarray(origin_A, dtype=np.float64), rotation_matrix(rotation_deg))

    @classmethod
    def of_positions(
        cls, positions_A: DoubleArray, shape: tuple[int, int], step_A: tuple[float, float]
    ) -> ScanFrame | None:
        """Fit the frame to refined positions (N, 2) of all points of a scan, row by row, every second row reversed or
        not; None if the positions do not match.
        """
        if len(positions_A) != shape[0] * shape[1] or min(shape) < 2 or not np.isfinite(positions_A).all():
            return None
        row, col = np.divmod(np.arange(len(positions_A)), shape[1])
        for order in (col, np.where(row % 2, shape[1] - 1 - col, col)):
            design = np.stack([np.ones(len(row)), row * step_A[0], order * step_A[1]], axis=1)
            fit = np.linalg.lstsq(design, positions_A, rcond=None)[0]
            if np.sqrt(((positions_A - design @ fit) ** 2).sum(axis=1).mean()) < OFF_GRID * min(step_A):
                return cls(np.asarray(fit[0]), np.asarray(fit[1:].T))
        return None

    def place(self, along_scan: DoubleArray) -> DoubleArray:
        """Return places (…, 2) on the object, Å, of places on the scan."""
        return np.asarray(self.origin_A + along_scan @ self.matrix.T)


def finer_by(run: StoredRun, shape: tuple[int, int], sampling_A: tuple[float, float]) -> int:
    """Return into how many pixels per axis those of a map are divided to show all detail of the object."""
    factor = math.ceil(max(sampling_A) / run.pixel_A - 1e-6)
    most = math.isqrt(MOST_PIXELS // max(1, shape[0] * shape[1]))
    return max(1, min(factor, most))


def phase_on_scan(
    run: StoredRun, frame: ScanFrame, shape: tuple[int, int], sampling_A: tuple[float, float], finer: int = 1
) -> FloatArray:
    """Return the phase of all slices together, rad, on the field of a map (Y, X): (finer Y, finer X) pixels.

    Each is read at its centre, from the linearly interpolated transmission. A map's pixel is centred on its scan point,
    so the mean of the ``finer`` × ``finer`` pixels within it corresponds to the map there.
    """
    rows, cols = (middle * step for middle, step in zip(_middles(shape, finer), sampling_A, strict=True))
    slices = run.transmission()
    total = np.zeros((len(rows), len(cols)), dtype=np.float32)
    band = max(1, BAND_PIXELS // len(cols))
    for first in range(0, len(rows), band):
        along_scan = np.stack(np.meshgrid(rows[first : first + band], cols, indexing="ij"), axis=-1)
        at = np.moveaxis((frame.place(along_scan) - np.asarray(run.origin_A)) / run.pixel_A, -1, 0)
        for plane in slices:
            real, imaginary = (map_coordinates(part, at, order=1, mode="nearest") for part in (plane.real, plane.imag))
            total[first : first + band] += np.arctan2(imaginary, real)
    return total


def lit(
    run: StoredRun, frame: ScanFrame, shape: tuple[int, int], sampling_A: tuple[float, float], step_A: float
) -> BoolArray:
    """Return the map pixels (Y, X) next to a refined position; ``step_A``: diagonal of a scan step."""
    rows, cols = (middle * step for middle, step in zip(_middles(shape, 1), sampling_A, strict=True))
    places = frame.place(np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1))
    distance_A = cKDTree(run.positions_A).query(places.reshape(-1, 2), distance_upper_bound=REACH * step_A)[0]
    return np.isfinite(distance_A).reshape(shape)


def wraps(run: StoredRun) -> bool:
    """Return whether the phase of a slice exceeds half a turn: pictures then jump, and pixel means are meaningless."""
    area = scanned_area((run.object.shape[2], run.object.shape[3]), run.origin_A, run.positions_A, run.pixel_A)
    phase = run.phase()[(slice(None), *area)]
    steps = [np.abs(np.diff(phase, axis=axis)) > np.pi for axis in (1, 2)]
    return bool(sum(np.count_nonzero(step) for step in steps) > WRAPPED * phase.size)


def averaged(fine: FloatArray, finer: int) -> FloatArray:
    """Return means of (Y, X) over ``finer`` × ``finer`` pixels: (Y // finer, X // finer)."""
    rows, cols = fine.shape[0] // finer, fine.shape[1] // finer
    return np.asarray(fine.reshape(rows, finer, cols, finer).mean(axis=(1, 3)), dtype=np.float32)


def _middles(shape: tuple[int, int], finer: int) -> tuple[Array, ...]:
    """Return the centres of pixels along both axes, in pixels of the map."""
    return tuple((np.arange(n * finer) + 0.5) / finer - 0.5 for n in shape)
