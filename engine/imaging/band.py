"""The frequency band of a filter: where it is non-zero, where its coefficients are stored, and how it is evaluated.

The phase transfer vanishes for |Q| > 2 k_alpha, so filters are kept only for the band below. A filter is smooth in Q:
its kernel over the scan is as wide as the probe, usually much narrower than the scan. It is therefore evaluated on a
coarser grid of Q, twice as fine as the kernel requires, and interpolated with cubic Lagrange polynomials, one axis
after the other. If that would save little, it is evaluated at every Q.

Planes are flattened column by column, in the order of the transformed coefficients (:mod:`.accumulation.rows`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ptylive.engine.geometry import scan_frequencies
from ptylive.engine.memory import check_fits
from ptylive.schema.model import Array, ComplexArray, DoubleArray, FloatArray, IndexArray
from ptylive.schema.scan import rotation_matrix

OVERSAMPLING = 2.0
"""Coarse grid relative to the sampling theorem: filters then deviate from exact ones by about 1 %, maps by 1e-4."""
TAPS = 4
"""Number of coarse points per axis that an interpolated value depends on: cubic Lagrange polynomials have four."""
WORK_ARRAYS = 8
"""Number of eight-byte values computed for each frequency before most frequencies are dropped."""
WORTHWHILE = 3.0
"""Factor in evaluations that interpolation must save before it is used."""
AT_A_TIME = 1024
"""Number of frequencies interpolated at a time, so that they stay in the second-level cache."""

Evaluate = Callable[[DoubleArray], ComplexArray]
"""Frequencies (n, 2), 1/Å -> values (M, n)."""
EvaluatePair = Callable[[DoubleArray], tuple[ComplexArray, ComplexArray]]
Reads = tuple[IndexArray, FloatArray]
"""Index (nb,) of the kept coefficient that each frequency reads, and the sign (nb,) of its imaginary part."""
Taps = tuple[IndexArray, FloatArray]
"""Index (n,) of the first coarse point used for each fine one, and the weights (n, TAPS)."""


@dataclass(frozen=True)
class ScanGrid:
    """A padded, possibly upsampled scan: ``padded`` points (rows, cols), ``step_A`` apart, rotated by an angle."""

    padded: tuple[int, int]
    step_A: tuple[float, float]
    rotation_deg: float
    upsample: float = 1
    """At least 1. A non-integer factor is approximated as closely as an even number of points allows."""

    @property
    def size(self) -> tuple[int, int]:
        """Points (rows, cols) of the upsampled grid."""
        if self.upsample == int(self.upsample):
            return self.padded[0] * int(self.upsample), self.padded[1] * int(self.upsample)
        return 2 * round(self.padded[0] * self.upsample / 2), 2 * round(self.padded[1] * self.upsample / 2)

    @property
    def finer(self) -> tuple[float, float]:
        """Number of grid points per scan point along each axis."""
        return self.size[0] / self.padded[0], self.size[1] / self.padded[1]

    @property
    def finer_step_A(self) -> tuple[float, float]:
        """Step of the upsampled grid."""
        return self.step_A[0] / self.finer[0], self.step_A[1] / self.finer[1]

    def axes(self, *, half: bool) -> tuple[DoubleArray, DoubleArray]:
        """Return frequencies (rows,), (cols,) of the padded scan, numpy order, 1/Å; ``half``: columns from 0 only."""
        (rows, cols), (row_step, col_step) = self.size, self.finer_step_A
        along_cols = np.fft.rfftfreq(cols, col_step) if half else np.fft.fftfreq(cols, col_step)
        return np.asarray(np.fft.fftfreq(rows, row_step)), np.asarray(along_cols)

    def frequencies(self, *, half: bool) -> DoubleArray:
        """Return all frequencies (nq, 2) in the detector frame, 1/Å."""
        return scan_frequencies(self.size, self.finer_step_A, self.rotation_deg, half=half)


@dataclass(frozen=True, eq=False)
class Band:
    """Frequencies of a scan's transform below ``limit_invA``.

    ``half``: only the half plane that suffices for a real map, instead of the whole plane. ``reach_A``: radius of a
    filter's kernel over the scan.
    """

    grid: ScanGrid
    limit_invA: float
    reach_A: float
    half: bool
    index: IndexArray = field(init=False)
    """(nb,) indices in the flattened plane, (cols, rows)."""
    q: DoubleArray = field(init=False)
    """(nb, 2) frequencies in the detector frame, 1/Å."""
    _shifted_reads: dict[tuple[int, int], Reads] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Select the frequencies in the band."""
        points = self.plane[0] * self.plane[1]
        check_fits(
            8 * WORK_ARRAYS * points, f"maps of {self.grid.size[0]} x {self.grid.size[1]} points", "scan fewer points"
        )
        q = self.grid.frequencies(half=self.half).reshape(*self.plane, 2).transpose(1, 0, 2).reshape(-1, 2)
        index = np.flatnonzero(np.hypot(q[:, 0], q[:, 1]) < self.limit_invA)
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "q", q[index])

    @property
    def plane(self) -> tuple[int, int]:
        """Shape of the plane."""
        rows, cols = self.grid.size
        return rows, (cols // 2 + 1 if self.half else cols)

    def spread(self, values: ComplexArray) -> ComplexArray:
        """Return values (nb,) placed in their plane (rows, cols), zero elsewhere."""
        out = np.zeros(self.plane[::-1], dtype=np.complex64)
        out.reshape(-1)[self.index] = values
        return out.T

    def gather(self, plane: Array) -> Array:
        """Return the values (nb,) of a plane (rows, cols): the inverse of :meth:`spread`."""
        return np.asarray(plane.T.reshape(-1)[self.index])

    @cached_property
    def kept(self) -> Reads:
        """Kept coefficient that each frequency reads, and the sign of its imaginary part."""
        return self._reads((0, 0))

    def kept_away(self, quarters: tuple[int, int]) -> Reads:
        """Return :attr:`kept` with frequencies shifted by quarters of the sampling frequency along rows and columns."""
        if quarters not in self._shifted_reads:
            self._shifted_reads[quarters] = self._reads(quarters)
        return self._shifted_reads[quarters]

    def _reads(self, quarters: tuple[int, int]) -> Reads:
        """Find the coefficients: c_hat repeats with 1/step, and its other half plane is the conjugate at -Q."""
        rows, cols = self.grid.padded
        col, row = np.divmod(self.index, self.plane[0])
        row, col = (np.where(n > size // 2, n - size, n) for n, size in zip((row, col), self.grid.size, strict=True))
        row, col = (row + quarters[0] * rows // 4) % rows, (col + quarters[1] * cols // 4) % cols
        mirrored = col > cols // 2
        index = np.where(mirrored, cols - col, col) * rows + np.where(mirrored, -row % rows, row)
        return index.astype(np.int64), np.where(mirrored, -1.0, 1.0).astype(np.float32)

    # -- filters --------------------------------------------------------------------------------------------------

    def evaluate(self, function: Evaluate) -> ComplexArray:
        """Return values (nb, M) of a function smooth in Q, which is called once with (n, 2) frequencies for (M, n)."""
        coarse = _CoarsePlane.of(self)
        if coarse is None:
            return np.ascontiguousarray(function(self.q).T, dtype=np.complex64)
        values = coarse.values(function)
        out = np.empty((len(self.index), values.shape[-1]), dtype=np.complex64)
        coarse.interpolate(values, self, slice(None), out)
        return out

    def evaluate_with_response(self, weights_and_transfer: EvaluatePair) -> tuple[ComplexArray, DoubleArray]:
        """Return weights (nb, N) and the real part (nb,) of their product with the corresponding transfer.

        ``weights_and_transfer`` (n, 2) -> two arrays (N, n), smooth in Q.
        """
        from ptylive.engine.backend.imaging.bank_numba import responses

        def pair(q: DoubleArray) -> ComplexArray:
            return np.concatenate(weights_and_transfer(q))

        coarse, response = _CoarsePlane.of(self), np.empty(len(self.index))
        if coarse is None:
            results = np.ascontiguousarray(pair(self.q).T, dtype=np.complex64).reshape(len(response), 2, -1)
            responses(results, response)
            return np.ascontiguousarray(results[:, 0]), response
        coarse_values = coarse.values(pair)
        results = np.empty((AT_A_TIME, 2, coarse_values.shape[-1] // 2), dtype=np.complex64)
        weights = np.empty((len(response), results.shape[2]), dtype=np.complex64)
        for first in range(0, len(weights), AT_A_TIME):
            block = slice(first, min(first + AT_A_TIME, len(weights)))
            part = results[: block.stop - block.start]
            coarse.interpolate(coarse_values, self, block, part.reshape(len(part), -1))
            responses(part, response[block])
            weights[block] = part[:, 0]
        return weights, response


@dataclass(frozen=True, eq=False)
class _CoarsePlane:
    """A coarser grid of frequencies covering the band, with the interpolation weights along each axis."""

    q: DoubleArray
    shape: tuple[int, int]
    """Number of points along columns and along rows."""
    needed: IndexArray
    """Points close enough to the band to contribute."""
    along_rows: Taps
    along_cols: Taps

    @classmethod
    def of(cls, band: Band) -> _CoarsePlane | None:
        """Return the coarse grid, or None if it would not be much coarser."""
        spacing = 1.0 / (2.0 * OVERSAMPLING * band.reach_A)
        counts = [_points(f, spacing) for f in band.grid.axes(half=band.half)]
        if not math.prod(counts) < math.prod(band.plane):  # as fine as the grid itself, or finer
            return None
        (rows, row_taps), (cols, col_taps) = (_lagrange(f, spacing) for f in band.grid.axes(half=band.half))
        points = np.stack(np.meshgrid(rows, cols), -1).reshape(-1, 2)
        margin = spacing * TAPS / np.sqrt(2.0)
        needed = np.flatnonzero(np.hypot(points[:, 0], points[:, 1]) < band.limit_invA + margin)
        if len(needed) * WORTHWHILE > len(band.index):
            return None
        q = points[needed] @ rotation_matrix(band.grid.rotation_deg).T
        return cls(q, (len(cols), len(rows)), needed, row_taps, col_taps)

    def values(self, function: Evaluate) -> ComplexArray:
        """Return values (cols, rows, M) of a function on the grid, 0 at points that do not contribute."""
        evaluated = function(self.q)
        values = np.zeros((self.shape[0] * self.shape[1], len(evaluated)), dtype=np.complex64)
        values[self.needed] = evaluated.T
        return values.reshape(*self.shape, -1)

    def interpolate(self, values: ComplexArray, band: Band, part: slice, out: ComplexArray) -> None:
        """Interpolate grid values (cols, rows, M) to ``out`` (n, M) at a part of the band's frequencies."""
        from ptylive.engine.backend.imaging.bank_numba import interpolate

        numbers = values.view(np.float32), out.view(np.float32)
        interpolate(numbers[0], band.index[part], band.plane[0], *self.along_cols, *self.along_rows, numbers[1])


def _points(fine: DoubleArray, spacing: float) -> float:
    """Return the number of coarse points that cover the fine ones along an axis."""
    return float(np.ptp(fine)) / spacing + TAPS


def _lagrange(fine: DoubleArray, spacing: float) -> tuple[DoubleArray, Taps]:
    """Return coarse points that cover the ``fine`` ones, and the weights that interpolate between them."""
    position = fine / spacing
    first = np.floor(position).astype(np.int64) - (TAPS // 2 - 1)
    weights = np.ones((len(fine), TAPS))
    for tap in range(TAPS):
        for node in range(TAPS):
            if node != tap:
                weights[:, tap] *= (position - first - node) / (tap - node)
    lowest, count = int(first.min()), int(first.max() - first.min()) + TAPS
    points = np.asarray((lowest + np.arange(count)) * spacing, dtype=np.float64)
    return points, (first - lowest, weights.astype(np.float32))
