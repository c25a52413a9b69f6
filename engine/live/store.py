"""What is kept of every frame while a scan runs: bin sums, region sums, moments, and the sum of all patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid
from ptylive.schema import Arm, FrameBatch
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray, LabelArray

REGIONS = ("inner", "outer", "gap", "dark")
"""Bright field below and above half its radius, the edge's halo, and everything beyond 1.1 radii."""
REGION_EDGES = (0.5, 1.0, 1.1)


@dataclass(frozen=True, eq=False)
class Reduction:
    """How a recorded frame becomes numbers: labels of its pixels (flat, recorded order)."""

    basis: BinnedPixels
    region_of: LabelArray
    row_of: DoubleArray
    col_of: DoubleArray

    @classmethod
    def of(cls, grid_px: DetectorGrid, disc_radius_px: float, bad: BoolArray, max_bins: int) -> Reduction:
        """Reduction for a detector whose disc is known in pixels; ``grid_px`` has pixels as its unit."""
        region = np.digitize(grid_px.radius / disc_radius_px, REGION_EDGES).astype(np.int32)
        region[bad] = -1
        return cls(
            basis=BinnedPixels.of(grid_px, disc_radius_px, bad, max_bins),
            region_of=region.ravel(),
            row_of=np.ascontiguousarray(grid_px.k_row.ravel()),
            col_of=np.ascontiguousarray(grid_px.k_col.ravel()),
        )

    def same_as(self, other: Reduction) -> bool:
        """Whether numbers taken with one serve as numbers of the other (CoM maps don't depend on the origin)."""
        return self.basis.same_as(other.basis) and np.array_equal(self.region_of, other.region_of)


class Store:
    """Numbers of all scan points, filled in any order. Not locked: one thread adds, the same thread reads.

    bins (N, nb) float32 counts; regions (N, 4), moments (N, 3) float64: sum, sum of I k_row, sum of I k_col in pixels
    of the detector frame; frames (N,) how many frames each point got.
    """

    def __init__(self, arm: Arm, reduction: Reduction) -> None:
        rows, cols = arm.scan.require_shape()
        points = rows * cols
        self.arm = arm
        self.reduction = reduction
        self.shape = (rows, cols)
        self.bins: FloatArray = np.zeros((points, reduction.basis.count), dtype=np.float32)
        self.regions: DoubleArray = np.zeros((points, len(REGIONS)))
        self.moments: DoubleArray = np.zeros((points, 3))
        self.frames: IndexArray = np.zeros(points, dtype=np.int64)
        self.pattern_sum: DoubleArray = np.zeros(int(np.prod(arm.detector_shape)))
        self.total_frames = 0

    def add(self, batch: FrameBatch) -> None:
        """Reduce and place a batch of raw frames; flyback and surplus frames are ignored."""
        point = self.arm.scan.point_of(batch.index)
        keep = point >= 0
        frames = batch.frames if keep.all() else batch.frames[keep]
        point = point[keep]
        if not len(point):
            return
        bins, regions, moments = reduce(self.reduction, frames, self.pattern_sum)
        if self.arm.scan.repeats == 1:
            self.bins[point], self.regions[point], self.moments[point] = bins, regions, moments
        else:
            np.add.at(self.bins, point, bins)
            np.add.at(self.regions, point, regions)
            np.add.at(self.moments, point, moments)
        np.add.at(self.frames, point, 1)
        self.total_frames += len(point)

    @property
    def visited(self) -> BoolArray:
        """Scan points (rows, cols) that have at least one frame."""
        return (self.frames > 0).reshape(self.shape)

    @property
    def mean_pattern(self) -> DoubleArray:
        """Mean of all frames, (Qy, Qx), recorded orientation."""
        return self.pattern_sum.reshape(self.arm.detector_shape) / max(self.total_frames, 1)

    def per_frame(self, sums: Array) -> Array:
        """Sums over the frames of each point, divided by their number."""
        if self.arm.scan.repeats == 1:
            return sums
        return np.asarray(sums / np.maximum(self.frames, 1)[:, None].astype(sums.dtype))

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(a.nbytes for a in (self.bins, self.regions, self.moments, self.frames, self.pattern_sum))


def reduce(
    reduction: Reduction, frames: Array, pattern_sum: DoubleArray
) -> tuple[FloatArray, DoubleArray, DoubleArray]:
    """Bin sums (n, nb), region sums (n, 4) and moments (n, 3) of raw frames (n, Qy, Qx); adds to ``pattern_sum``."""
    from ptylive.engine.backend.filters_numba import reduce_frames

    count = len(frames)
    flat = np.ascontiguousarray(frames).reshape(count, -1)
    if not flat.dtype.isnative:
        flat = flat.astype(flat.dtype.newbyteorder("="))
    bins = np.empty((count, reduction.basis.count), dtype=np.float32)
    regions = np.empty((count, len(REGIONS)))
    moments = np.empty((count, 3))
    bin_of = reduction.basis.bin_of.ravel()
    labels = (bin_of, reduction.region_of, reduction.row_of, reduction.col_of)
    reduce_frames(flat, *labels, bins, regions, moments, pattern_sum)
    return bins, regions, moments
