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
LEAST_EXPLAINED = 1.0
"""Variance that the fit explains, over the specimen's, at pixels where it explains something: 0.2 of 10 nm of SrTiO3,
7 and more of thin specimens."""
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
        return np.asarray(self.coefficients[0])

    def at(self, rest_px: DoubleArray) -> FloatArray:
        """Mean patterns (n, Qy, Qx) that lie ``rest_px`` (n, 2), at most half a pixel, from their place."""
        terms = _terms(rest_px, self.order).astype(np.float32)
        flat = terms @ self.coefficients.reshape(terms.shape[1], -1)
        return np.asarray(flat.reshape(-1, *self.coefficients.shape[1:]), dtype=np.float32)

    def tells(self, rest_px: DoubleArray, values: DoubleArray) -> DoubleArray:
        """Share of the variance of each of some values (n, values) that its polynomial could take for fractions.

        rest_px (n, 2): of the patterns. Of a wander within one pixel it is all, of many pixels nothing.
        """
        terms, around = _terms(rest_px, self.order), values - values.mean(axis=0)
        left = around - terms @ np.linalg.lstsq(terms, around, rcond=None)[0]
        return np.asarray(1.0 - (left**2).sum(axis=0) / np.maximum((around**2).sum(axis=0), 1e-30))

    def with_moments(self, frames: FloatArray, moments: DoubleArray) -> FloatArray:
        """Frames (n, Qy, Qx) with the sums of counts, of rows and of columns times counts (n, 3) that they should have.

        What they lack is spread as the mean pattern is, tilted: what a fit takes of a specimen's slow deflections
        is given back, and no centre of mass depends on the fit.
        """
        axes = _axes(self.still.shape)
        weighted = axes * self.still.ravel().astype(float)
        lacks = moments - moments_of(frames)
        tilt = np.linalg.solve(weighted @ axes.T + 1e-12 * np.eye(3), lacks.T)
        return np.asarray(frames + (tilt.T @ weighted).reshape(frames.shape), dtype=np.float32)

    def strength(self, frames: FloatArray) -> FloatArray:
        """How much of the mean pattern each of some frames (n, Qy, Qx) holds, (n,), by least squares."""
        power = max(float((self.still.astype(float) ** 2).sum()), 1e-30)
        return (frames.reshape(len(frames), -1) @ self.still.ravel() / power).astype(np.float32)


@dataclass(eq=False)
class WanderingSums:
    """What the polynomials are fitted to, summed over the frames of a scan; ``counts_per_electron``: of its noise."""

    counts_per_electron: float = 1.0
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
        """Fitted to all of them; None where they are few, or where a specimen changes the edge more than wander does.

        There ringing is not what disturbs, and what the fit takes of the specimen would.
        """
        order = next((order for least, order in ORDERS if self.frames >= least), None)
        if order is None:
            return None
        kept = [n for n, powers in enumerate(_powers(ORDERS[0][1])) if sum(powers) <= order]
        normal = self._normal[np.ix_(kept, kept)] + RIDGE * self.frames * np.eye(len(kept))
        right = np.asarray(self._right[kept], dtype=np.float64)
        found = np.asarray(np.linalg.solve(normal, right.reshape(len(kept), -1)), dtype=np.float64)
        found = found.reshape(len(kept), *right.shape[1:])
        shrunk = self._shrunk(found, right)
        return None if shrunk is None else WanderingMean(order, shrunk.astype(np.float32))

    def _shrunk(self, found: DoubleArray, right: DoubleArray) -> DoubleArray | None:
        """Coefficients (terms, Qy, Qx) between those of the fit and of the mean alone, as far as it explains more."""
        mean = right[0] / self.frames
        squares = (found * right).sum(axis=0)
        explained = np.maximum(squares - self.frames * mean**2, 1e-30)
        left = np.maximum(self._squares - squares, 0.0) / max(self.frames - len(found), 1)
        kept = np.clip(1.0 - CAUTION * (len(found) - 1) * left / explained, 0.0, 1.0)
        of_specimen = self.frames * np.maximum(left - self.counts_per_electron * np.maximum(mean, 0.0), 0.0)
        if (kept * explained).sum() < LEAST_EXPLAINED * (kept * of_specimen).sum():
            return None
        shrunk = kept * found
        shrunk[0] += (1.0 - kept) * mean
        return np.asarray(shrunk)


def moments_of(frames: FloatArray) -> DoubleArray:
    """Sums (n, 3) of counts, and of their rows and columns from the detector's middle on, of frames (n, Qy, Qx)."""
    return np.asarray(frames.reshape(len(frames), -1).astype(float) @ _axes(frames.shape[1:]).T)


def _axes(shape: tuple[int, ...]) -> DoubleArray:
    """Ones, rows and columns of all pixels, (3, Qy Qx)."""
    rows, cols = (axis - (n - 1) / 2 for axis, n in zip(np.indices(shape), shape, strict=True))
    return np.stack([np.ones(rows.size), rows.ravel(), cols.ravel()])


def _powers(order: int) -> list[tuple[int, int]]:
    """Powers of row and column of each term up to an order, those of a lower order first."""
    return [(of - col, col) for of in range(order + 1) for col in range(of + 1)]


def _terms(rest_px: DoubleArray, order: int) -> DoubleArray:
    """(n, terms)."""
    return np.stack([rest_px[:, 0] ** row * rest_px[:, 1] ** col for row, col in _powers(order)], axis=1)
