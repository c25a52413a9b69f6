"""Interface of a detector basis {M_n} with coefficients c_n = sum_k M_n(k) I(k), as used by the live engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ptylive.engine.geometry import DetectorGrid
from ptylive.schema.model import Array, ComplexArray, DoubleArray, IndexArray

MAX_SAMPLES = 4096
"""Largest number of detector points at which filters are evaluated; larger discs are sampled."""

Evaluate = Callable[[Array, Array, Array, Array, Array], None]
"""(weights (s,), offsets (groups + 1,), q_row (nq,), q_col (nq,), out (groups, nq)): sums of a function of (k, Q) over
groups of consecutive samples, all single precision."""

Weighting = Callable[[ComplexArray], ComplexArray]
"""C^-1 B of transfers B (N, nq), C the covariance of the coefficients."""


class Samples(Protocol):
    """Detector points that represent the bright pixels of a basis."""

    @property
    def k(self) -> DoubleArray:
        """(s, 2) spatial frequencies, 1/Å."""
        ...

    def sums(self, evaluate: Evaluate, q: DoubleArray) -> ComplexArray:
        """Return sum_k M_n(k) f(k, Q): (count, nq), for frequencies q (nq, 2)."""
        ...


class DetectorBasis(Protocol):
    """Sums of detector pixels that represent a frame; the masks need not be orthonormal."""

    @property
    def count(self) -> int:
        """Number of masks, N."""
        ...

    def same_as(self, other: Any) -> bool:
        """Return whether coefficients taken in one basis are coefficients of the other."""
        ...

    def samples(self, grid: DetectorGrid) -> Samples:
        """Return points at which filters are evaluated; ``grid`` must be the one with physical units."""
        ...

    def sums_at(self, pixel: IndexArray, values: Array) -> ComplexArray:
        """Return sum_k M_n(k) f(k): (N, nq), f (pixels, nq) at recorded pixels (flat index, -1: none)."""
        ...

    def dual(self, sums: ComplexArray) -> ComplexArray:
        """Return the weights of the coefficients for sum_k f(k) I(k): G^-1 (M^T f), G the masks' inner products."""
        ...

    def per_noise(self, mean: DoubleArray) -> Weighting:
        """Return C^-1 for transfers (N, nq): C = M^T diag(mean pattern) M, the Poisson covariance of the coefficients.

        mean (N,): mean coefficients, from which the mean pattern is estimated. Costly to make, cheap to use.
        """
        ...

    def bright_sum(self, mean: DoubleArray) -> float:
        """Return the bright-field intensity that the mean coefficients (N,) represent."""
        ...
