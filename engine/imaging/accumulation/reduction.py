"""Reduction of a frame to the numbers that are kept of it, whether it arrives as pixels or as coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.reduction_plan import Axes, PixelPlan
from ptylive.engine.bases import BinnedPixels, DetectorBasis, MaskBasis
from ptylive.engine.bases.stream import stream_basis
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduced_numbers import MOMENTS, REGION_EDGES, REGIONS, Accumulator
from ptylive.schema import ScanHeader
from ptylive.schema.model import Array, BoolArray, DoubleArray, LabelArray


class Reduction(Protocol):
    """Defines the numbers that are kept of a frame."""

    @property
    def basis(self) -> DetectorBasis:
        """Basis of the coefficients."""
        ...

    @property
    def frame_size(self) -> int:
        """Number of values in a frame."""
        ...

    def accumulator(self, dtype: np.dtype[Any]) -> Accumulator:
        """Return an accumulator for frames of a type, in native byte order."""
        ...

    def device_accumulator(self, device: ArrayDevice, dtype: np.dtype[Any]) -> Accumulator | None:
        """Return one for a GPU, or None if it could only copy. Raises NoRoom if its tables do not fit."""
        ...

    def pattern(self, frame: Array) -> DoubleArray:
        """Return the pattern (Qy, Qx) that a frame, or a mean of frames, shows."""
        ...

    def same_as(self, other: Any) -> bool:
        """Return whether numbers of one are valid for the other (CoM maps don't depend on the origin)."""
        ...


@dataclass(frozen=True, eq=False)
class PixelReduction:
    """Reduction of raw frames: labels of the pixels (flat, recorded order)."""

    basis: BinnedPixels
    region_of: LabelArray
    row_of: DoubleArray
    col_of: DoubleArray
    saturation_value: float | None = None

    @classmethod
    def of(cls, grid_px: DetectorGrid, disc_radius_px: float, bad: BoolArray, max_bins: int) -> PixelReduction:
        """Make the reduction for a detector whose disc is known in pixels.

        ``grid_px`` has pixels as its unit; ``bad`` (Qy, Qx).
        """
        region = regions(grid_px, disc_radius_px)
        region[bad] = -1
        return cls(
            basis=BinnedPixels.of(grid_px, disc_radius_px, bad, max_bins),
            region_of=region.ravel(),
            row_of=np.ascontiguousarray(grid_px.k_row.ravel()),
            col_of=np.ascontiguousarray(grid_px.k_col.ravel()),
        )

    @property
    def frame_size(self) -> int:
        """Number of pixels."""
        return self.region_of.size

    def accumulator(self, dtype: np.dtype[Any]) -> Accumulator:
        """See :class:`ptylive.engine.imaging.accumulation.accumulators.PixelAccumulator`."""
        from ptylive.engine.imaging.accumulation.accumulators import PixelAccumulator, PixelLabels

        labels = PixelLabels(self.basis.bin_of.ravel(), self.region_of)
        return PixelAccumulator(self.plan, dtype, self.saturation_value, labels)

    def device_accumulator(self, device: ArrayDevice, dtype: np.dtype[Any]) -> Accumulator:
        """See :class:`ptylive.engine.imaging.accumulation.accumulators.DeviceAccumulator`."""
        from ptylive.engine.backend.imaging.reduction_arrays import ArrayReduction, PixelTables
        from ptylive.engine.imaging.accumulation.accumulators import DeviceAccumulator

        tables = (self.basis.bin_of.ravel(), self.region_of, len(REGIONS), self.row_of, self.col_of)
        reduction = ArrayReduction(device, PixelTables.of(*tables), dtype, self.saturation_value)
        return DeviceAccumulator(reduction, self.frame_size, dtype)

    @cached_property
    def plan(self) -> PixelPlan:
        """Bins, regions and coordinates in the form used by the compiled loops."""
        shape = self.basis.bin_of.shape
        axes = Axes(self.row_of.reshape(shape)[:, 0].copy(), self.col_of.reshape(shape)[0].copy())
        return PixelPlan.of(self.basis.bin_of, self.region_of.reshape(shape), self.basis.width, len(REGIONS), axes)

    def pattern(self, frame: Array) -> DoubleArray:
        """Return the frame itself as (Qy, Qx)."""
        return np.asarray(frame, dtype=float).reshape(self.basis.bin_of.shape)

    def same_as(self, other: Any) -> bool:
        """Return whether bins and regions are the same."""
        if not isinstance(other, PixelReduction) or other.saturation_value != self.saturation_value:
            return False
        return self.basis.same_as(other.basis) and np.array_equal(self.region_of, other.region_of)


@dataclass(frozen=True, eq=False)
class VectorReduction:
    """Reduction of vectors of coefficients and extras: region sums and moments are linear in them, exact with extras.

    Nothing is linear in square roots: their regions are squared lengths (basis paper, eq. 11), the moments the extras.
    """

    basis: MaskBasis
    square_root: bool
    extra: tuple[str, ...]
    to_regions: DoubleArray
    """(N + M, 4) weights of the region sums."""
    to_moments: DoubleArray
    """(N + M, 3) weights of the moments."""

    @classmethod
    def of(cls, header: ScanHeader, grid_px: DetectorGrid, disc_radius_px: float) -> VectorReduction:
        """Make the reduction of a compressed scan; ``grid_px`` has pixels as its unit."""
        basis, extra = stream_basis(header), header.basis.extra
        square_root = header.basis.of == "sqrt_intensity"
        size = basis.count + len(extra)
        column = {name: basis.count + k for k, name in enumerate(extra)}
        to_regions, to_moments = np.zeros((size, len(REGIONS))), np.zeros((size, len(MOMENTS)))
        if not square_root:
            region = regions(grid_px, disc_radius_px)
            to_regions[: basis.count] = basis.weights_of(region == np.arange(len(REGIONS))[:, None, None])
            planes = np.stack([np.ones_like(grid_px.k_row), grid_px.k_row, grid_px.k_col])
            to_moments[: basis.count] = basis.weights_of(planes)
        if "edge" in column:
            to_regions[column["edge"], REGIONS.index("dark")] = 1.0
        for k, name in enumerate(MOMENTS):
            if name in column:
                to_moments[:, k] = np.arange(size) == column[name]
        return cls(basis, square_root, extra, to_regions, to_moments)

    @property
    def frame_size(self) -> int:
        """Number of coefficients and extras."""
        return len(self.to_regions)

    def accumulator(self, dtype: np.dtype[Any]) -> Accumulator:
        """See :class:`ptylive.engine.imaging.accumulation.accumulators.VectorAccumulator`."""
        from ptylive.engine.imaging.accumulation.accumulators import VectorAccumulator

        del dtype  # vectors are float32
        weights = np.concatenate([self.to_regions, self.to_moments], axis=1).T.copy()
        return VectorAccumulator(weights, self.squared_lengths if self.square_root else None)

    def device_accumulator(self, device: ArrayDevice, dtype: np.dtype[Any]) -> None:
        """Return None: coefficients are kept unchanged, a GPU would only send them back."""
        del device, dtype

    def pattern(self, frame: Array) -> DoubleArray:
        """Return the best estimate the coefficients allow; (Qy, Qx)."""
        estimate = self.basis.pattern(np.asarray(frame)[: self.basis.count])
        return estimate**2 if self.square_root else estimate

    def same_as(self, other: Any) -> bool:
        """Return whether masks and regions are the same."""
        if not isinstance(other, VectorReduction):
            return False
        return self.basis.same_as(other.basis) and np.array_equal(self.to_regions, other.to_regions)

    def change_of_regions(self, before: Array, after: Array) -> DoubleArray:
        """Return the change of the region sums (n, 4) due to a change of the coefficients (n, N) alone."""
        if not self.square_root:
            return np.asarray((np.asarray(after, dtype=float) - before) @ self.to_regions[: self.basis.count])
        without_extra = replace(self, extra=())
        return without_extra.squared_lengths(np.asarray(after, float)) - without_extra.squared_lengths(
            np.asarray(before, float)
        )

    def squared_lengths(self, vectors: DoubleArray) -> DoubleArray:
        """Return the bright-field intensity as ``inner``, the dark field as ``dark``: squares plus what they leave out.

        vectors (n, N + M); result (n, 4).
        """
        sums = np.zeros((len(vectors), len(REGIONS)))
        n, count = self.basis.n_bright, self.basis.count
        for region, part, left_out in (("inner", slice(n), "perp_bright"), ("dark", slice(n, count), "perp_dark")):
            length = (vectors[:, part] ** 2).sum(axis=1)
            if left_out in self.extra:
                length += vectors[:, count + self.extra.index(left_out)]
            sums[:, REGIONS.index(region)] += length
        return sums


def regions(grid_px: DetectorGrid, disc_radius_px: float) -> LabelArray:
    """Return the region (Qy, Qx) of each pixel, index into REGIONS."""
    return np.digitize(grid_px.radius / disc_radius_px, REGION_EDGES).astype(np.int32)
