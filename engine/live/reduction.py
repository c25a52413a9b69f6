"""How a frame becomes the numbers that are kept of it, whether it comes as pixels or as coefficients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from ptylive.engine.bases import BinnedPixels, DetectorBasis, MaskBasis
from ptylive.engine.bases.stream import stream_basis
from ptylive.engine.geometry import DetectorGrid
from ptylive.schema import Arm
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray, LabelArray

REGIONS = ("inner", "outer", "gap", "dark")
"""Bright field below and above half its radius, the edge's halo, and everything beyond 1.1 radii."""
REGION_EDGES = (0.5, 1.0, 1.1)
MOMENTS = ("sum", "k_row", "k_col")
"""Sum of I, of I k_row, of I k_col; pixels from the beam, along the axes as recorded."""

Reduced = tuple[FloatArray, DoubleArray, DoubleArray]
"""Coefficients (n, N), region sums (n, 4), moments (n, 3)."""


class Reduction(Protocol):
    """What is kept of a frame."""

    @property
    def basis(self) -> DetectorBasis:
        """The basis of the coefficients."""
        ...

    @property
    def frame_size(self) -> int:
        """Numbers in a frame."""
        ...

    def reduce(self, frames: Array, frame_sum: DoubleArray) -> Reduced:
        """Numbers of frames (n, …); adds the frames to ``frame_sum`` (frame_size,)."""
        ...

    def pattern(self, frame: Array) -> DoubleArray:
        """The pattern (Qy, Qx) that a frame, or a mean of frames, shows."""
        ...

    def same_as(self, other: Any) -> bool:
        """Whether numbers taken with one serve as numbers of the other (CoM maps don't depend on the origin)."""
        ...


@dataclass(frozen=True, eq=False)
class PixelReduction:
    """Raw frames: labels of the pixels (flat, recorded order)."""

    basis: BinnedPixels
    region_of: LabelArray
    row_of: DoubleArray
    col_of: DoubleArray

    @classmethod
    def of(cls, grid_px: DetectorGrid, disc_radius_px: float, bad: BoolArray, max_bins: int) -> PixelReduction:
        """Reduction for a detector whose disc is known in pixels; ``grid_px`` has pixels as its unit."""
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
        """Pixels."""
        return self.region_of.size

    def reduce(self, frames: Array, frame_sum: DoubleArray) -> Reduced:
        """Bin sums, region sums and moments of raw frames (n, Qy, Qx), in one pass over the pixels."""
        from ptylive.engine.backend.filters_numba import add_frames, reduce_frames

        count = len(frames)
        flat = np.ascontiguousarray(frames).reshape(count, -1)
        if not flat.dtype.isnative:
            flat = flat.astype(flat.dtype.newbyteorder("="))
        bins = np.empty((count, self.basis.count), dtype=np.float32)
        sums = np.empty((count, len(REGIONS)))
        moments = np.empty((count, len(MOMENTS)))
        shape = self.basis.bin_of.shape
        row_at, col_at = self.row_of.reshape(shape)[:, 0].copy(), self.col_of.reshape(shape)[0].copy()
        reduce_frames(flat, self._cells, self._good, row_at, col_at, bins, sums, moments)
        add_frames(flat, frame_sum)
        return bins, sums, moments

    @cached_property
    def _good(self) -> FloatArray:
        """(pixels,) 1, and 0 on bad pixels."""
        return (self.region_of >= 0).astype(np.float32)

    @cached_property
    def _cells(self) -> tuple[LabelArray, IndexArray, IndexArray, IndexArray]:
        """Pixels inside the last region's inner edge, sorted by bin and region: see the kernel."""
        bins, dark = self.basis.bin_of.ravel().astype(np.int64), len(REGIONS) - 1
        pixel = np.flatnonzero((self.region_of >= 0) & ((self.region_of < dark) | (bins >= 0)))
        label = (bins[pixel] + 1) * len(REGIONS) + self.region_of[pixel]
        order = np.argsort(label, kind="stable")
        names, size = np.unique(label, return_counts=True)
        offset = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        return pixel[order].astype(np.int32), offset, names // len(REGIONS) - 1, names % len(REGIONS)

    def pattern(self, frame: Array) -> DoubleArray:
        """The frame itself."""
        return np.asarray(frame, dtype=float).reshape(self.basis.bin_of.shape)

    def same_as(self, other: Any) -> bool:
        """Whether bins and regions are the same."""
        if not isinstance(other, PixelReduction):
            return False
        return self.basis.same_as(other.basis) and np.array_equal(self.region_of, other.region_of)


@dataclass(frozen=True, eq=False)
class VectorReduction:
    """Vectors of coefficients and extras: region sums and moments are linear in them, exact where an extra says so.

    From square roots nothing is linear: the regions are squared lengths (seed 003, eq. 11), the moments the extras.
    """

    basis: MaskBasis
    square_root: bool
    extra: tuple[str, ...]
    to_regions: DoubleArray
    """(N + M, 4)"""
    to_moments: DoubleArray
    """(N + M, 3)"""

    @classmethod
    def of(cls, arm: Arm, grid_px: DetectorGrid, disc_radius_px: float) -> VectorReduction:
        """Reduction of a compressed scan; ``grid_px`` has pixels as its unit."""
        basis, extra = stream_basis(arm), arm.basis.extra
        square_root = arm.basis.of == "sqrt_intensity"
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
        """Coefficients and extras."""
        return len(self.to_regions)

    def reduce(self, frames: Array, frame_sum: DoubleArray) -> Reduced:
        """Numbers of vectors (n, N + M)."""
        exact = np.asarray(frames, dtype=float)
        total = exact.sum(axis=0)
        if not np.isfinite(total).all():
            # one position that is no number would spoil every Fourier transform
            frames = np.nan_to_num(frames, posinf=0.0, neginf=0.0)
            exact = frames.astype(float)
            total = exact.sum(axis=0)
        frame_sum += total
        sums = exact @ self.to_regions
        if self.square_root:
            self._add_squared_lengths(exact, sums)
        return frames[:, : self.basis.count], sums, exact @ self.to_moments

    def pattern(self, frame: Array) -> DoubleArray:
        """The best estimate the coefficients allow; (Qy, Qx)."""
        estimate = self.basis.pattern(np.asarray(frame)[: self.basis.count])
        return estimate**2 if self.square_root else estimate

    def same_as(self, other: Any) -> bool:
        """Whether masks and regions are the same."""
        if not isinstance(other, VectorReduction):
            return False
        return self.basis.same_as(other.basis) and np.array_equal(self.to_regions, other.to_regions)

    def _add_squared_lengths(self, vectors: DoubleArray, sums: DoubleArray) -> None:
        """Intensity of the bright field as ``inner``, of the dark field as ``dark``: squares and what they left out."""
        n, count = self.basis.n_bright, self.basis.count
        for region, part, left_out in (("inner", slice(n), "perp_bright"), ("dark", slice(n, count), "perp_dark")):
            length = (vectors[:, part] ** 2).sum(axis=1)
            if left_out in self.extra:
                length += vectors[:, count + self.extra.index(left_out)]
            sums[:, REGIONS.index(region)] += length


def regions(grid_px: DetectorGrid, disc_radius_px: float) -> LabelArray:
    """Region (Qy, Qx) of each pixel, index into REGIONS."""
    return np.digitize(grid_px.radius / disc_radius_px, REGION_EDGES).astype(np.int32)


def impossible_methods(arm: Arm, methods: Iterable[str]) -> dict[str, str]:
    """Which of the methods a scan's frames cannot give, with the reason: square roots feed no linear map."""
    if arm.basis.of != "sqrt_intensity":
        return {}
    needs = {"bf": ("perp_bright",), "adf": ("perp_dark",), **dict.fromkeys(("com", "idpc", "dpc_iterative"), MOMENTS)}
    out = {}
    for name in methods:
        if name not in needs:
            out[name] = "needs intensities, not their square roots"
        elif lacking := [extra for extra in needs[name] if extra not in arm.basis.extra]:
            out[name] = f"needs the extra {lacking[0]}"
    return out
