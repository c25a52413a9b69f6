"""Overlapping masks: a frame is represented by its products with N masks, exactly or as well as they allow.

Masks need only be real. With G = M^T M (the identity for orthonormal masks) the best estimate of a pattern is
M G^-1 c, and a weight f(k) on pixels becomes the weights G^-1 M^T f on coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from ptylive.engine.bases.protocol import MAX_SAMPLES, Evaluate, Weighting
from ptylive.engine.geometry import DetectorGrid, single_columns
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, FloatArray, IndexArray

RANK_TOLERANCE = 1e-6
"""Share of the strongest direction below which directions carry rounding errors, not patterns."""
LEAST_MEAN = 1e-3
"""Lower limit of an estimated mean pattern as a share of its maximum: a variance cannot be negative."""
CHUNK = 2048


@dataclass(frozen=True, eq=False)
class MaskBasis:
    """Masks (N, Qy, Qx) float32 in recorded coordinates, the first ``n_bright`` in the bright field.

    kind: as in the contract (zernike, binning, data, pca, or anything a sender calls it).
    """

    kind: str
    masks: FloatArray
    n_bright: int

    @property
    def count(self) -> int:
        """Number of masks, N."""
        return len(self.masks)

    @property
    def n_dark(self) -> int:
        """Number of masks outside the bright field."""
        return self.count - self.n_bright

    @cached_property
    def flat(self) -> FloatArray:
        """Masks (N, pixels), contiguous."""
        return np.ascontiguousarray(self.masks.reshape(self.count, -1), dtype=np.float32)

    @cached_property
    def bright_pixels(self) -> BoolArray:
        """Pixels (Qy * Qx,) covered by a bright-field mask."""
        return np.asarray((self.flat[: self.n_bright] != 0).any(axis=0))

    @cached_property
    def inverse_gram(self) -> DoubleArray:
        """G^-1 (N, N); directions that no pattern can determine are left out."""
        return _inverse(self.flat.astype(float) @ self.flat.T.astype(float))

    def same_as(self, other: Any) -> bool:
        """Return whether coefficients taken in one basis are coefficients of the other."""
        return isinstance(other, MaskBasis) and np.array_equal(self.masks, other.masks)

    def project(self, frames: Array) -> FloatArray:
        """Return coefficients (n, N) of frames (n, Qy, Qx): one matrix product."""
        flat = np.ascontiguousarray(frames, dtype=np.float32).reshape(len(frames), -1)
        return np.asarray(flat @ self.flat.T)

    def pattern(self, coefficients: Array) -> DoubleArray:
        """Return the best estimate of the patterns (…, Qy, Qx) represented by coefficients (…, N)."""
        estimate = (np.asarray(coefficients, dtype=float) @ self.inverse_gram) @ self.flat
        return np.asarray(estimate.reshape(*estimate.shape[:-1], *self.masks.shape[1:]))

    def weights_of(self, functions: Array) -> DoubleArray:
        """Return the weights (N, f) of the coefficients for sum_k f(k) I(k), functions (f, Qy, Qx)."""
        flat = np.asarray(functions, dtype=float).reshape(len(functions), -1)
        return np.asarray(self.inverse_gram @ (self.flat @ flat.T))

    def samples(self, grid: DetectorGrid) -> MaskSamples:
        """Return bright pixels, or the centres of blocks of them if there are too many; ``grid`` in 1/Å."""
        pixel = np.flatnonzero(self.bright_pixels)
        width = math.ceil(math.sqrt(max(len(pixel), 1) / MAX_SAMPLES))
        row, col = np.divmod(pixel, self.masks.shape[2])
        block = (row // width) * self.masks.shape[2] + col // width
        order = np.argsort(block, kind="stable")
        pixel, block = pixel[order], block[order]
        first = np.unique(block, return_index=True)[1] if len(block) else np.zeros(0, dtype=np.int64)
        size = np.diff([*first.tolist(), len(pixel)])
        k = np.stack([grid.k_row.ravel()[pixel], grid.k_col.ravel()[pixel]], 1)
        if width > 1:
            k = np.add.reduceat(k, first, axis=0) / size[:, None]
        masks = np.zeros((self.count, len(first)), dtype=np.float32)
        masks[: self.n_bright] = np.add.reduceat(self.flat[: self.n_bright, pixel], first, axis=1)
        return MaskSamples(np.ascontiguousarray(k), masks)

    def sums_at(self, pixel: IndexArray, values: Array) -> ComplexArray:
        """Return sum_k M_n(k) f(k) over the bright field: (N, nq), f (pixels, nq) at recorded pixels (-1: none)."""
        inside = np.flatnonzero((pixel >= 0) & self.bright_pixels[pixel])
        return _times(self.flat[:, pixel[inside]], np.ascontiguousarray(values[inside], dtype=np.complex64))

    def dual(self, sums: ComplexArray) -> ComplexArray:
        """Return the weights of the coefficients, G^-1 sums: (N, nq)."""
        return _times(self.inverse_gram.astype(np.float32), sums)

    def per_noise(self, mean: DoubleArray) -> Weighting:
        """Return C^-1 of transfers (N, nq), C = M^T diag(mean pattern) M, the pattern estimated from coefficients."""
        pattern = self.pattern(mean).ravel()
        pattern = np.maximum(pattern, LEAST_MEAN * pattern.max())
        covariance = (self.flat * pattern) @ self.flat.T.astype(float)
        return partial(_times, _inverse(covariance).astype(np.float32))

    def bright_sum(self, mean: DoubleArray) -> float:
        """Return the bright-field intensity that mean coefficients (N,) represent."""
        return float(mean @ self.weights_of(self.bright_pixels[None])[:, 0])


@dataclass(frozen=True, eq=False)
class MaskSamples:
    """Detector points k (s, 2), 1/Å, and the weight of each mask there, masks (N, s)."""

    k: DoubleArray
    masks: FloatArray

    def sums(self, evaluate: Evaluate, q: DoubleArray) -> ComplexArray:
        """Return sum_k M_n(k) f(k, Q): (N, nq); f is evaluated for some Q at a time."""
        q_row, q_col = single_columns(q)
        weight, offset = np.ones(len(self.k), dtype=np.float32), np.arange(len(self.k) + 1, dtype=np.int64)
        out = np.empty((len(self.masks), len(q)), dtype=np.complex64)
        for start in range(0, len(q), CHUNK):
            chunk = slice(start, min(start + CHUNK, len(q)))
            values = np.empty((len(self.k), chunk.stop - start), dtype=np.complex64)
            evaluate(weight, offset, q_row[chunk], q_col[chunk], values)
            out[:, chunk] = _times(self.masks, values)
        return out


def _inverse(matrix: DoubleArray) -> DoubleArray:
    """Invert a symmetric, positive matrix, whatever the scale of its rows; null directions stay null."""
    diagonal = np.diag(matrix)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    inverse = np.linalg.pinv(matrix * scale[:, None] * scale, rcond=RANK_TOLERANCE, hermitian=True)
    return np.asarray(inverse * scale[:, None] * scale)


def _times(real: FloatArray, complex_values: ComplexArray) -> ComplexArray:
    """Multiply a real (n, m) and a complex (m, nq) matrix as one real product."""
    pairs = np.ascontiguousarray(complex_values).view(np.float32)
    return np.ascontiguousarray(real @ pairs).view(np.complex64)
