"""Sums over disjoint bins of the bright field, in which a raw stream is kept.

There are as many bins as memory and refresh rate allow, so that every linear map can be made from them at any time,
with any calibration. Being disjoint they need no linear algebra: every operation of a basis is a division.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from ptylive.engine.bases.protocol import MAX_SAMPLES, Evaluate, Weighting
from ptylive.engine.geometry import DetectorGrid, single_columns
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, IndexArray, LabelArray

DIM, LEAST_OF_NEIGHBOURS, LEAST_VARIANCE = 0.05, 0.2, 1e-6
"""Share of the brightest bin below which a bin is compared with its neighbours; its least variance as a share of their
mean; and as a share of the brightest bin."""


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
        """Return the finest binning of the disc (radius in grid units, plus soft edge) with at most ``max_bins``."""
        inside = (grid.radius < disc_radius + 0.5 * grid.pixel) & ~bad
        row, col = _steps(grid.k_row / grid.pixel), _steps(grid.k_col / grid.pixel)
        width = max(1, math.floor(math.sqrt(max(int(inside.sum()), 1) / max_bins)))
        while True:
            label = np.floor((row + width / 2) / width) * 65536 + np.floor((col + width / 2) / width)
            names, number = np.unique(label[inside], return_inverse=True)
            if len(names) <= max_bins:
                break
            width += 1
        bin_of = np.full(grid.k_row.shape, -1, dtype=np.int32)
        bin_of[inside] = number
        return cls(bin_of, width, len(names))

    def same_as(self, other: Any) -> bool:
        """Return whether coefficients taken in one basis are coefficients of the other."""
        if not isinstance(other, BinnedPixels):
            return False
        return self.count == other.count and np.array_equal(self.bin_of, other.bin_of)

    @cached_property
    def pixels_per_bin(self) -> DoubleArray:
        """Number of detector pixels in each bin, (count,)."""
        return np.bincount(self.bin_of[self.bin_of >= 0], minlength=self.count).astype(float)

    def sums_at(self, pixel: IndexArray, values: Array) -> ComplexArray:
        """Return sums over the bins, (count, nq), of values (pixels, nq) at recorded pixels (flat index, -1: none)."""
        bins = np.where(pixel >= 0, self.bin_of.ravel()[pixel], -1)
        inside = np.flatnonzero(bins >= 0)
        order = inside[np.argsort(bins[inside], kind="stable")]
        present, first = np.unique(bins[order], return_index=True)
        out = np.zeros((self.count, values.shape[1]), dtype=np.complex64)
        if len(order):
            out[present] = np.add.reduceat(values[order], first, axis=0)
        return out

    def dual(self, sums: ComplexArray) -> ComplexArray:
        """Return means (bins, nq) over each bin, from sums (bins, nq) over it."""
        return np.asarray(sums * (1 / self.pixels_per_bin[:, None]).astype(np.float32))

    def per_noise(self, mean: DoubleArray) -> Weighting:
        """Return the division of transfers (count, nq) by the Poisson variance of each bin."""
        least = np.finfo(np.float32).tiny
        # multiplied, since numpy would divide by a complex number, which takes ten times as long
        inverse = (1 / np.maximum(self.variance(mean), least)).astype(np.float32)[:, None]
        return lambda transfer: np.asarray(transfer * inverse)

    def variance(self, mean: DoubleArray) -> DoubleArray:
        """Return the Poisson variance of bins (count,) with a given mean.

        Patterns that were moved ring around the disc's edge: the mean of a pixel there may be almost nothing, or
        negative, but its noise is also that of its neighbours.
        """
        most = mean.max()
        if mean.min() < DIM * most:
            mean = np.maximum(mean, LEAST_OF_NEIGHBOURS * self._local_mean(mean))
        return np.asarray(np.maximum(mean, LEAST_VARIANCE * most))

    def _local_mean(self, mean: DoubleArray) -> DoubleArray:
        """Return the mean (count,) over each bin and the bins that touch it."""
        inside = self.bin_of >= 0
        pattern = np.zeros(self.bin_of.shape)
        pattern[inside] = np.maximum(mean / self.pixels_per_bin, 0)[self.bin_of[inside]]
        side = 2 * self.width + 1
        smoothed = ndimage.uniform_filter(pattern, side, mode="constant")
        smoothed /= np.maximum(ndimage.uniform_filter(inside.astype(float), side, mode="constant"), 1e-12)
        return np.asarray(np.bincount(self.bin_of[inside], weights=smoothed[inside], minlength=self.count), dtype=float)

    def bright_sum(self, mean: DoubleArray) -> float:
        """Return the intensity in all bins, from that in each (bins,)."""
        return float(mean.sum())

    def samples(self, grid: DetectorGrid) -> BinSamples:
        """Return points at which filters are evaluated, sorted by bin, evenly chosen within each; ``grid`` in 1/Å."""
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
    """Detector points representing bins: k (s, 2) 1/Å, weight (s,) pixels, offset (bins + 1,), pixel (s,) index."""

    k: DoubleArray
    weight: DoubleArray
    offset: IndexArray
    pixel: IndexArray

    def sums(self, evaluate: Evaluate, q: DoubleArray) -> ComplexArray:
        """Return the sum over each bin of f(k, Q): (bins, nq)."""
        out = np.empty((len(self.offset) - 1, len(q)), dtype=np.complex64)
        evaluate(self.weight.astype(np.float32), self.offset, *single_columns(q), out)
        return out


def _steps(pixels: DoubleArray) -> DoubleArray:
    """Round places one pixel apart to integers one apart, also if they lie halfway between two integers."""
    beyond = pixels.flat[0] - np.rint(pixels.flat[0])
    return np.asarray(np.rint(pixels - beyond), dtype=float)
