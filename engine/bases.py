"""Detector bases: which sums of detector pixels stand for a frame (live-maths, section 2).

A raw stream is kept as sums over square bins of the bright field: as many as memory and refresh rate allow, so that
every linear map can be made from them at any time, with any calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.engine.geometry import DetectorGrid
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray, LabelArray

MAX_SAMPLES = 4096
"""Filters are evaluated at no more detector points than this; larger discs are sampled evenly within each bin."""


@dataclass(frozen=True, eq=False)
class BinnedPixels:
    """Sums over square bins of bright-field pixels.

    bin_of: (Qy, Qx) int32, bin of each recorded pixel, -1 outside the disc and on bad pixels; width: pixels per bin
    side; count: bins.
    """

    bin_of: LabelArray
    width: int
    count: int

    @classmethod
    def of(cls, grid: DetectorGrid, disc_radius: float, bad: BoolArray, max_bins: int) -> BinnedPixels:
        """The finest binning of the disc (radius in the grid's unit, plus its soft edge) with at most ``max_bins``."""
        inside = (grid.radius < disc_radius + 0.5 * grid.pixel) & ~bad
        row, col = np.rint(grid.k_row / grid.pixel), np.rint(grid.k_col / grid.pixel)
        width = max(1, math.floor(math.sqrt(max(inside.sum(), 1) / max_bins)))
        while True:
            label = np.floor((row + width / 2) / width) * 65536 + np.floor((col + width / 2) / width)
            names, number = np.unique(label[inside], return_inverse=True)
            if len(names) <= max_bins:
                break
            width += 1
        bin_of = np.full(grid.k_row.shape, -1, dtype=np.int32)
        bin_of[inside] = number
        return cls(bin_of, width, len(names))

    def same_as(self, other: BinnedPixels) -> bool:
        """Whether coefficients taken in one basis are coefficients of the other."""
        return self.count == other.count and np.array_equal(self.bin_of, other.bin_of)

    def samples(self, grid: DetectorGrid) -> BinSamples:
        """Points at which filters are evaluated, sorted by bin; ``grid`` must be the one with physical units."""
        pixel = np.flatnonzero(self.bin_of.ravel() >= 0)
        pixel = pixel[np.argsort(self.bin_of.ravel()[pixel], kind="stable")]
        bins = self.bin_of.ravel()[pixel]
        size = np.bincount(bins, minlength=self.count)
        stride = max(1, math.ceil(len(pixel) / MAX_SAMPLES))
        within = np.arange(len(pixel)) - np.concatenate([[0], np.cumsum(size)])[bins]
        chosen = within % stride == (size[bins] % stride) // 2 if stride > 1 else np.ones(len(pixel), dtype=bool)
        chosen |= (size[bins] < stride) & (within == 0)
        pixel, bins = pixel[chosen], bins[chosen]
        per_bin = np.bincount(bins, minlength=self.count)
        k = np.stack([grid.k_row.ravel()[pixel], grid.k_col.ravel()[pixel]], 1)
        return BinSamples(
            k=np.ascontiguousarray(k),
            weight=(size / np.maximum(per_bin, 1))[bins],
            offset=np.concatenate([[0], np.cumsum(per_bin)]).astype(np.int64),
            pixel=pixel,
        )


@dataclass(frozen=True, eq=False)
class BinSamples:
    """Detector points standing for bins: k (s, 2) 1/Å, weight (s,) pixels, offset (bins + 1,), pixel (s,) index."""

    k: DoubleArray
    weight: DoubleArray
    offset: IndexArray
    pixel: IndexArray
