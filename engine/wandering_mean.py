"""The mean pattern of a scan that wanders over the detector, at every place between two pixels.

Patterns are moved by the shift theorem, and the edge of a disc, a pixel wide and the steepest thing there is, rings
when it is: with deviations of several percent of the counts far into the disc, more than a specimen changes there. What
all patterns have in common need not be interpolated: a scan that wanders shows it at every fraction of a pixel. Each
pixel's mean is fitted by a polynomial in that fraction; only what a pattern differs by is moved.

A specimen that changes the pattern much is noise to that fit. So the polynomial of each pixel is shrunk towards its
mean by what chance would explain (James and Stein): it stays at the edge of a disc and vanishes inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ptylive.schema.model import Array, DoubleArray, FloatArray

ORDERS = ((250, 3), (60, 1))
"""Patterns from which on a polynomial of some order is fitted; of fewer there is none."""
CAUTION = 4.0
"""Times what independent patterns would explain by chance: neighbours show the same specimen at the same fraction."""
LEAST_FRAMES = ORDERS[-1][0]
RIDGE = 1e-6
"""Of the number of patterns: fractions that do not occur tell nothing of the terms they would be needed for."""


@dataclass(frozen=True, eq=False)
class WanderingMean:
    """Coefficients (terms, Qy, Qx) of the mean pattern as a polynomial in the place (row, column) within a pixel."""

    order: int
    coefficients: FloatArray

    @property
    def still(self) -> FloatArray:
        """The mean pattern (Qy, Qx) on its place."""
        return self.coefficients[0]

    def at(self, rest_px: DoubleArray) -> FloatArray:
        """Mean patterns (n, Qy, Qx) that lie ``rest_px`` (n, 2), at most half a pixel, from their place."""
        terms = _terms(rest_px, self.order).astype(np.float32)
        return (terms @ self.coefficients.reshape(terms.shape[1], -1)).reshape(-1, *self.coefficients.shape[1:])

    def strength(self, frames: FloatArray) -> FloatArray:
        """How much of the mean pattern each of some frames (n, Qy, Qx) holds, (n,), by least squares."""
        power = max(float((self.still.astype(float) ** 2).sum()), 1e-30)
        return (frames.reshape(len(frames), -1) @ self.still.ravel() / power).astype(np.float32)


@dataclass(eq=False)
class WanderingSums:
    """What the polynomials are fitted to, summed over the frames of a scan."""

    frames: int = 0
    _squares: DoubleArray = field(default_factory=lambda: np.zeros(()))
    _normal: DoubleArray = field(default_factory=lambda: np.zeros(()))
    _right: DoubleArray = field(default_factory=lambda: np.zeros(()))

    def add(self, frames: Array, rest_px: DoubleArray) -> None:
        """Frames (n, Qy, Qx) moved by whole pixels, ``rest_px`` (n, 2) from their place."""
        terms = _terms(rest_px, ORDERS[0][1])
        self._normal = self._normal + terms.T @ terms
        counts = frames.astype(float)
        self._right = self._right + np.tensordot(terms, counts, axes=(0, 0))
        self._squares = self._squares + np.einsum("nyx,nyx->yx", counts, counts)
        self.frames += len(frames)

    def mean(self) -> WanderingMean | None:
        """Fitted to all of them; None where they are few."""
        order = next((order for least, order in ORDERS if self.frames >= least), None)
        if order is None:
            return None
        kept = [n for n, powers in enumerate(_powers(ORDERS[0][1])) if sum(powers) <= order]
        normal = self._normal[np.ix_(kept, kept)] + RIDGE * self.frames * np.eye(len(kept))
        right = self._right[kept]
        found = np.linalg.solve(normal, right.reshape(len(kept), -1)).reshape(right.shape)
        return WanderingMean(order, self._shrunk(found, right).astype(np.float32))

    def _shrunk(self, found: DoubleArray, right: DoubleArray) -> DoubleArray:
        """Coefficients (terms, Qy, Qx) between those of the fit and of the mean alone, as far as it explains more."""
        mean = right[0] / self.frames
        squares = (found * right).sum(axis=0)
        explained = np.maximum(squares - self.frames * mean**2, 1e-30)
        left = np.maximum(self._squares - squares, 0.0) / max(self.frames - len(found), 1)
        kept = np.clip(1.0 - CAUTION * (len(found) - 1) * left / explained, 0.0, 1.0)
        shrunk = kept * found
        shrunk[0] += (1.0 - kept) * mean
        return np.asarray(shrunk)


def _powers(order: int) -> list[tuple[int, int]]:
    """Powers of row and column of each term up to an order, those of a lower order first."""
    return [(of - col, col) for of in range(order + 1) for col in range(of + 1)]


def _terms(rest_px: DoubleArray, order: int) -> DoubleArray:
    """(n, terms)."""
    return np.stack([rest_px[:, 0] ** row * rest_px[:, 1] ** col for row, col in _powers(order)], axis=1)
