"""What is kept of every frame while a scan runs: coefficients, region sums, moments, and the sum of all frames."""

from __future__ import annotations

from copy import copy

import numpy as np

from ptylive.engine.live.reduction import MOMENTS, REGIONS, Reduction
from ptylive.schema import Arm, FrameBatch
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray


class Store:
    """Numbers of all scan points, filled in any order. Not locked: one thread adds, the same thread reads.

    bins (points, N) float32 coefficients; regions (points, 4), moments (points, 3) float64: sum, sum of I k_row, sum of
    I k_col in recorded pixels; frames (points,) how many frames each point got.
    """

    def __init__(self, arm: Arm, reduction: Reduction) -> None:
        rows, cols = arm.scan.require_shape()
        points = rows * cols
        self.arm = arm
        self.reduction = reduction
        self.shape = (rows, cols)
        self.bins: FloatArray = np.zeros((points, reduction.basis.count), dtype=np.float32)
        self.regions: DoubleArray = np.zeros((points, len(REGIONS)))
        self.moments: DoubleArray = np.zeros((points, len(MOMENTS)))
        self.frames: IndexArray = np.zeros(points, dtype=np.int64)
        self.frame_sum: DoubleArray = np.zeros(reduction.frame_size)
        self.total_frames = 0

    def add(self, batch: FrameBatch) -> None:
        """Reduce and place a batch of frames; flyback and surplus frames are ignored."""
        point = self.arm.scan.point_of(batch.index)
        keep = point >= 0
        frames = batch.frames if keep.all() else batch.frames[keep]
        point = point[keep]
        if not len(point):
            return
        bins, regions, moments = self.reduction.reduce(frames, self.frame_sum)
        if self.arm.scan.repeats == 1:
            self.bins[point], self.regions[point], self.moments[point] = bins, regions, moments
        else:
            np.add.at(self.bins, point, bins)
            np.add.at(self.regions, point, regions)
            np.add.at(self.moments, point, moments)
        np.add.at(self.frames, point, 1)
        self.total_frames += len(point)

    def snapshot(self) -> Store:
        """A copy that no longer changes."""
        other = copy(self)
        for name in ("bins", "regions", "moments", "frames", "frame_sum"):
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    def visited(self) -> BoolArray:
        """Scan points (rows, cols) that have at least one frame."""
        return (self.frames > 0).reshape(self.shape)

    @property
    def mean_pattern(self) -> DoubleArray:
        """Mean of all frames, (Qy, Qx), recorded orientation; of coefficients what they show of it."""
        return self.reduction.pattern(self.frame_sum / max(self.total_frames, 1))

    def per_frame(self, sums: Array) -> Array:
        """Sums over the frames of each point, divided by their number."""
        if self.arm.scan.repeats == 1:
            return sums
        return np.asarray(sums / np.maximum(self.frames, 1)[:, None].astype(sums.dtype))

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(a.nbytes for a in (self.bins, self.regions, self.moments, self.frames, self.frame_sum))
