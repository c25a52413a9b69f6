"""Reduction of frames on whole arrays of a device: the GPU counterpart of :mod:`reduction_numba`.

Integers are summed as integers, so that bins, regions and the sum of the frames are identical to those of the CPU to
the last bit; moments differ by the rounding of a sum in double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.reduction_plan import SUMMED, accumulator_of
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray, LabelArray


class Reduced(NamedTuple):
    """Numbers of n frames, on the host."""

    bins: FloatArray
    """(n, nb) binned counts."""
    numbers: DoubleArray
    """(n, regions + moments) sums."""
    pattern: DoubleArray
    """(pixels,) sum of the frames as recorded, with saturated pixels clipped."""
    full: int
    """Number of frames in which a good pixel was saturated."""


class PixelTables(NamedTuple):
    """Bins, regions and coordinates in the form used on the device; pixels are flat, in recorded order."""

    inside: IndexArray
    """(nb, most) pixels of each bin, padded with any pixel if a bin has fewer."""
    counts: BoolArray
    """(nb, most) which of them count."""
    weights: DoubleArray
    """(pixels, regions + 3): 1 in its region; then 1, row and column; 0 on bad pixels."""

    @classmethod
    def of(
        cls, bin_of: LabelArray, region_of: LabelArray, regions: int, row_of: DoubleArray, col_of: DoubleArray
    ) -> PixelTables:
        """Make tables from bins (pixels,), -1 if none, and regions (pixels,), -1 if bad, with pixel coordinates."""
        pixel = np.flatnonzero(bin_of >= 0)
        order = pixel[np.argsort(bin_of[pixel], kind="stable")]
        count = int(bin_of.max(initial=-1)) + 1
        sizes = np.bincount(bin_of[order], minlength=count)
        start = np.cumsum(sizes) - sizes
        place = np.arange(int(sizes.max(initial=0)))
        counts = place < sizes[:, None]
        inside = order[np.where(counts, start[:, None] + place, 0)] if len(order) else np.zeros(counts.shape, np.int64)
        good = region_of >= 0
        shares = (region_of[:, None] == np.arange(regions)).astype(float)
        moments = np.stack([np.ones(len(good)), row_of, col_of], axis=1) * good[:, None]
        return cls(inside, counts, np.concatenate([shares, moments], axis=1))


class ArrayReduction:
    """Reduces frames of one type in portions that fit the device's work memory."""

    def __init__(
        self, device: ArrayDevice, tables: PixelTables, dtype: np.dtype[Any], saturation_value: float | None = None
    ) -> None:
        """``dtype``: of a pixel, in native byte order. Raises NoRoom if the tables do not fit."""
        self._device, self._dtype, self._kind = device, dtype, accumulator_of(dtype)
        device.check_room(float(sum(table.nbytes for table in tables)), "tables of the detector")
        xp = device.xp
        self._inside, self._counts, self._weights = (xp.asarray(table) for table in tables)
        self._good = xp.asarray(tables.weights[:, -3] > 0)
        self._limit = float(saturation_value or 0)
        if dtype.kind in "iu" and self._limit > np.iinfo(dtype).max:
            self._limit = 0.0  # no pixel can be saturated
        pixels, inside = len(tables.weights), tables.inside.size
        # frames, their clipped copy, the same in double precision for the product; gathered bins, twice
        self._bytes_each = float(pixels * (2 * dtype.itemsize + 8 + 1) + 2 * inside * dtype.itemsize + 64)

    def reduce(self, frames: Array, chosen: IndexArray) -> Reduced:
        """Return the numbers of chosen frames (n,) of frames (N, pixels) on the host, in their order."""
        step = min(self._device.portion(self._bytes_each, "frames"), SUMMED)
        bins = np.empty((len(chosen), len(self._inside)), np.float32)
        numbers = np.empty((len(chosen), self._weights.shape[1]))
        pattern, full = np.zeros(frames.shape[1]), 0
        for first in range(0, len(chosen), step):
            part = slice(first, first + step)
            values, saturated = self._on_device(frames, chosen[part])
            full += saturated
            bins[part] = self._device.to_host(self._bins(values))
            numbers[part] = self._device.to_host(values.astype(np.float64) @ self._weights)
            pattern += self._device.to_host(values.sum(axis=0, dtype=self._kind))
        return Reduced(bins, numbers, pattern, full)

    def _on_device(self, frames: Array, chosen: IndexArray) -> tuple[Any, int]:
        """Return frames (n, pixels) with saturated pixels clipped, and in how many a good pixel was saturated."""
        together = bool((np.diff(chosen) == 1).all())  # then no copy on the host is needed
        values = self._device.xp.asarray(frames[chosen[0] : chosen[-1] + 1] if together else frames[chosen])
        if not self._limit:
            return values, 0
        full = values >= self._limit
        saturated = int((full & self._good).any(axis=1).sum())
        return self._device.xp.where(full, self._dtype.type(self._limit), values), saturated

    def _bins(self, values: Any) -> Any:
        """Return bins (n, nb) float32."""
        xp = self._device.xp
        if not self._inside.shape[1]:
            return xp.zeros((len(values), len(self._inside)), np.float32)
        read = xp.where(self._counts, values[:, self._inside], self._dtype.type(0))
        return read.sum(axis=2, dtype=self._kind).astype(np.float32)
