"""The mean pattern of a scan that wanders over the detector, at every place between two pixels.

Patterns are moved by the shift theorem. The edge of a disc, one pixel wide and steeper than anything else, then rings,
with deviations of several percent of the counts far into the disc, more than a specimen changes there. But the part
that all patterns have in common need not be interpolated, because a wandering scan shows it at every fraction of a
pixel. It is one surface, which pixels sample at different places: a spline with a few knots per pixel, fitted to all
patterns. Only the difference of a pattern from it is moved.

To that fit, a specimen that changes the pattern strongly is noise. Slow changes over the scan are fitted together with
the spline and left alone, because for a wander of few pixels the fractions change as slowly. The spline of each pixel
is shrunk towards its mean by what chance would explain (James and Stein): it stays at the edge of a disc and vanishes
inside.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import fft

from ptylive.schema.model import Array, ComplexArray, DoubleArray, FloatArray, IndexArray

KNOTS = ((250, 3), (60, 2))
"""Number of patterns from which the spline has a number of knots per pixel; with fewer there is no spline."""
SLOW, SLOW_OF_LARGE, LARGE_PIXELS = 8, 4, 2**18
"""Cosines along each axis of the scan that describe slow changes; for larger detectors; and their size in pixels."""
PATTERNS_PER_SLOW = 16
MOST_ABSORBED = 0.4
"""Share of the variation of fractions that cosines may absorb as a slow change: for a wander of 2 pixels, three along
each axis absorb a third, eight of them nine tenths, and the edge is lost with them."""
SLOW_RIDGE = 1e-2
"""Ridge in units of the number of patterns: a part explained by spline and cosines alike is given to the spline."""
CAUTION = 2.5
"""Factor on what independent patterns explain by chance: neighbours show the same specimen at the same fraction."""
FREE = 2
"""Number of free values per pixel of a surface without finer detail."""
FINER = 0.3
"""Penalty, in units of the number of patterns, on squares of detail finer than a pixel: shorter waves are not visible,
because a pixel integrates over its area, and a window of a scan's patterns holds two values in each. A fit of few
fractions would otherwise absorb slow changes of the specimen in them."""
LEAST_EXPLAINED = 1.0
"""Least ratio of explained variance to the specimen's, at pixels where anything is explained: 0.2 for 10 nm of SrTiO3,
7 and more for thin specimens."""
MOST_BYTES = 2**30
"""Limit on the sums: patterns of a detector that would need more are interpolated as a whole."""
RIDGE = 1e-4
"""Penalty, in units of the number of patterns, on squared second differences, for fractions that do not occur."""
ORDER, POLYNOMIAL_ORDER = 3, 3
"""Order of the spline, and of the polynomial that may mistake a wander for fractions."""


@dataclass(frozen=True, eq=False)
class WanderingMean:
    """Coefficients (terms, Qy, Qx) of the mean pattern: of the splines that reach into a pixel, row by row."""

    knots: int
    coefficients: FloatArray

    @cached_property
    def still(self) -> FloatArray:
        """Mean pattern (Qy, Qx) at rest."""
        return np.asarray(self.at(np.zeros((1, 2)))[0])

    def at(self, rest_px: DoubleArray) -> FloatArray:
        """Return mean patterns (n, Qy, Qx) displaced by ``rest_px`` (n, 2), at most half a pixel."""
        terms = _terms(rest_px, self.knots).astype(np.float32)
        flat = terms @ self.coefficients.reshape(terms.shape[1], -1)
        return np.asarray(flat.reshape(-1, *self.coefficients.shape[1:]), dtype=np.float32)

    def explained_share(self, rest_px: DoubleArray, values: DoubleArray) -> DoubleArray:
        """Return the share of the variance of values (n, values) that a polynomial could attribute to fractions.

        rest_px (n, 2): of the patterns. For a wander within one pixel it is all, over many pixels nothing.
        """
        terms, centred = _powers(rest_px), values - values.mean(axis=0)
        residual = centred - terms @ np.linalg.lstsq(terms, centred, rcond=None)[0]
        return np.asarray(1.0 - (residual**2).sum(axis=0) / np.maximum((centred**2).sum(axis=0), 1e-30))

    def with_moments(self, frames: FloatArray, moments: DoubleArray) -> FloatArray:
        """Adjust frames (n, Qy, Qx) to given sums (n, 3) of counts, and of rows and columns times counts.

        The difference is distributed like the mean pattern, tilted. This restores slow deflections by the specimen that
        the fit absorbs, so that no centre of mass depends on the fit.
        """
        axes = _axes(self.still.shape)
        weighted = axes * self.still.ravel().astype(float)
        lacks = moments - moments_of(frames)
        tilt = np.linalg.solve(weighted @ axes.T + 1e-12 * np.eye(3), lacks.T)
        return np.asarray(frames + (tilt.T @ weighted).reshape(frames.shape), dtype=np.float32)

    def strength(self, frames: FloatArray) -> FloatArray:
        """Return how much of the mean pattern each frame (n, Qy, Qx) contains, (n,), by least squares."""
        power = max(float((self.still.astype(float) ** 2).sum()), 1e-30)
        return (frames.reshape(len(frames), -1) @ self.still.ravel() / power).astype(np.float32)


@dataclass(eq=False)
class WanderingSums:
    """Sums over the frames of a scan to which the spline is fitted; ``counts_per_electron``: for their noise."""

    counts_per_electron: float = 1.0
    frames: int = 0
    _squares: DoubleArray = field(default_factory=lambda: np.zeros(()))
    _normal: DoubleArray = field(default_factory=lambda: np.zeros(()))
    _right: DoubleArray = field(default_factory=lambda: np.zeros(()))

    def add(self, frames: Array, rest_px: DoubleArray, field_place: DoubleArray) -> None:
        """Add frames (n, Qy, Qx) moved by whole pixels, displaced by ``rest_px`` (n, 2) from rest.

        field_place (n, 2): position in the scan, from -1 to 1 along its rows and columns.
        """
        pixels = math.prod(frames.shape[1:])
        size = SLOW if pixels <= LARGE_PIXELS else SLOW_OF_LARGE
        if 8 * pixels * (sum((knots + ORDER) ** 2 for _, knots in KNOTS) + size**2) > MOST_BYTES:
            return
        splines = [_terms(rest_px, knots) for _, knots in KNOTS]
        terms = np.concatenate([*splines, _slow(field_place, size)], axis=1)
        self._normal = self._normal + terms.T @ terms
        counts = np.asarray(frames, dtype=np.float32)
        right = np.tensordot(terms.astype(np.float32), counts, axes=(0, 0))
        if not self.frames:
            self._right = np.zeros(right.shape)
        self._right += right  # in place, because it is as large as some tens of patterns
        self._squares = self._squares + np.einsum("nyx,nyx->yx", counts, counts, dtype=float)
        self.frames += len(frames)

    def mean(self, *, slowly: bool = True) -> WanderingMean | None:
        """Fit the mean pattern; None if there are few frames, or a specimen changes the edge more than wander does.

        In that case ringing is not the main error, but absorbing part of the specimen would be. ``slowly``: slow
        changes, and detail finer than a pixel, are not wander. They may be while the wander is not yet known, and
        fractions describe it as well as they can; the missing wander would otherwise look like interpolation bias.
        """
        knots = next((knots for least, knots in KNOTS if self.frames >= least), None)
        if knots is None:
            return None
        spline, slow = self._chosen(knots, slowly=slowly)
        normal, cross = self._normal[np.ix_(spline, spline)], self._normal[np.ix_(spline, slow)]
        slow_normal = self._normal[np.ix_(slow, slow)] + SLOW_RIDGE * self.frames * np.eye(len(slow))
        coupling = np.linalg.solve(slow_normal, cross.T).T
        right = self._right[spline] - np.tensordot(coupling, self._right[slow], axes=1)
        finer = FINER * self.frames if slowly else 0.0
        surface = _surface(normal - coupling @ cross.T, right, knots, RIDGE * self.frames, finer)
        slow_right = self._right[slow] - np.tensordot(cross.T, surface, axes=1)
        shrunk = self._shrunk(surface, np.tensordot(np.linalg.inv(slow_normal), slow_right, axes=1), spline, slow)
        return None if shrunk is None else WanderingMean(knots, shrunk.astype(np.float32))

    def _chosen(self, knots: int, *, slowly: bool) -> tuple[IndexArray, IndexArray]:
        """Return the indices of the spline's terms, and of the slowly changing terms that are used."""
        first = np.cumsum([0, *((n + ORDER) ** 2 for _, n in KNOTS)])
        number = next(n for n, (_, count) in enumerate(KNOTS) if count == knots)
        size = math.isqrt(len(self._normal) - int(first[-1]) + 1)
        spline = np.arange(first[number], first[number + 1])
        row, col = np.divmod(np.arange(1, size * size), size)
        slow = first[-1] + np.flatnonzero(np.maximum(row, col) < 1)
        for most in range(2, 1 + min(size, math.isqrt(self.frames // PATTERNS_PER_SLOW)) if slowly else 0):
            candidates = first[-1] + np.flatnonzero(np.maximum(row, col) < most)
            if self._explained_by(spline, candidates) > MOST_ABSORBED:
                break
            slow = candidates
        return spline, slow

    def _explained_by(self, spline: IndexArray, slow: IndexArray) -> float:
        """Return the share of the variance of the spline's terms that cosines could attribute to slow changes."""
        own, cross = self._normal[np.ix_(spline, spline)], self._normal[np.ix_(spline, slow)]
        sums, slow_sums = own.sum(axis=1), cross.sum(axis=0)  # terms of a spline sum to 1
        cross = cross - np.outer(sums, slow_sums) / self.frames
        slow_normal = self._normal[np.ix_(slow, slow)] - np.outer(slow_sums, slow_sums) / self.frames
        explained = np.trace(cross @ np.linalg.pinv(slow_normal) @ cross.T)
        return float(explained / max(np.trace(own) - float(sums @ sums) / self.frames, 1e-30))

    def _shrunk(
        self, surface: DoubleArray, slowly: DoubleArray, spline: IndexArray, slow: IndexArray
    ) -> DoubleArray | None:
        """Return coefficients (terms, Qy, Qx) between the fit and the mean alone, according to what the fit explains.

        slowly (terms, Qy, Qx): slow changes over the scan; spline, slow: indices of their terms.
        """
        normal = self._normal[np.ix_(spline, spline)]
        sums = normal.sum(axis=1)
        mean = self._right[spline].sum(axis=0) / self.frames
        squares = _quadratic(normal, surface)
        explained = np.maximum(squares - np.tensordot(sums, surface, axes=1) ** 2 / self.frames, 1e-30)
        without_slow = np.maximum(self._squares - 2 * (surface * self._right[spline]).sum(axis=0) + squares, 0.0)
        coefficients, columns = np.concatenate([surface, slowly]), np.concatenate([spline, slow])
        residual = self._squares - 2 * (coefficients * self._right[columns]).sum(axis=0)
        knots = math.isqrt(len(spline)) - ORDER
        residual = np.maximum(residual + _quadratic(self._normal[np.ix_(columns, columns)], coefficients), 0.0)
        residual /= max(self.frames - knots**2 - len(slow), 1)
        factor = np.clip(1.0 - CAUTION * (min(knots, FREE) ** 2 - 1) * residual / explained, 0.0, 1.0)
        of_specimen = np.maximum(without_slow - self.frames * self.counts_per_electron * np.maximum(mean, 0.0), 0.0)
        if (factor * explained).sum() < LEAST_EXPLAINED * (factor * of_specimen).sum():
            return None
        return np.asarray(factor * surface + (1.0 - factor) * mean)


def _quadratic(normal: DoubleArray, terms: DoubleArray) -> DoubleArray:
    """Return the quadratic form (Qy, Qx) of coefficients (terms, Qy, Qx)."""
    return np.asarray((terms * np.tensordot(normal, terms, axes=1)).sum(axis=0))


def _surface(normal: DoubleArray, right: DoubleArray, knots: int, ridge: float, finer: float) -> DoubleArray:
    """Return coefficients (terms, Qy, Qx), in each pixel, of the one surface that all pixels sample.

    All pixels see the same fractions, so the equations are the same from pixel to pixel: their Fourier transform over
    whole pixels has ``knots`` squared unknowns at each frequency. ``finer``: penalty on detail finer than a pixel.
    """
    size = knots + ORDER
    rough = np.diff(np.eye(size), 2, axis=0)
    rough = rough.T @ rough
    normal = normal + ridge * (np.kron(rough, np.eye(size)) + np.kron(np.eye(size), rough))
    shape = right.shape[1:]
    shift, part = np.divmod(np.arange(size), knots)
    pairs = list(itertools.product(range(size), range(size)))
    sums = np.zeros((knots * knots, *shape))
    for n, (i, j) in enumerate(pairs):
        sums[part[i] * knots + part[j]] += np.roll(right[n], (shift[i], shift[j]), axis=(0, 1))
    spectrum = fft.rfft2(sums)
    reach = int(shift.max())
    coupling = {
        (a, b): np.zeros((knots**2, knots**2)) for a, b in itertools.product(range(-reach, reach + 1), repeat=2)
    }
    for n, (i, j) in enumerate(pairs):
        for m, (row, col) in enumerate(pairs):
            offset = int(shift[row] - shift[i]), int(shift[col] - shift[j])
            coupling[offset][part[i] * knots + part[j], part[row] * knots + part[col]] += normal[n, m]
    k_row, k_col = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
    seen_rows, seen_cols = _within_a_pixel(k_row, knots), _within_a_pixel(k_col, knots)
    solution = np.empty_like(spectrum)
    for row, k in enumerate(k_row):
        phases = {offset: np.exp(2j * np.pi * (k * offset[0] + k_col * offset[1])) for offset in coupling}
        matrix = sum(phase[:, None, None] * coupling[offset] for offset, phase in phases.items())
        inside = np.einsum("ij,cmn->cimjn", seen_rows[row], seen_cols).reshape(len(k_col), knots**2, knots**2)
        matrix = matrix + finer * (np.eye(knots**2) - inside)
        solution[:, row] = np.linalg.solve(matrix, spectrum[:, row].T[..., None])[..., 0].T
    fine = fft.irfft2(solution, s=shape)
    return np.stack([np.roll(fine[part[i] * knots + part[j]], (-shift[i], -shift[j]), axis=(0, 1)) for i, j in pairs])


def _within_a_pixel(frequency: DoubleArray, knots: int) -> ComplexArray:
    """Return (n, knots, knots) projections of values at a pixel's knots on waves not finer than a pixel.

    frequency (n,): per pixel, from pixel to pixel; a wave of values at knots may have more whole periods per pixel.
    """
    fine = (frequency[:, None] + np.arange(knots) + knots / 2) % knots - knots / 2
    waves = np.exp(2j * np.pi * fine[:, :, None] * np.arange(knots) / knots) * (np.abs(fine) <= 1)[:, :, None]
    return np.asarray(np.einsum("nfi,nfj->nij", waves, waves.conj()) / knots)


def moments_of(frames: FloatArray) -> DoubleArray:
    """Return sums (n, 3) of counts, and of rows and columns from the detector's middle, of frames (n, Qy, Qx)."""
    return np.asarray(frames.reshape(len(frames), -1).astype(float) @ _axes(frames.shape[1:]).T)


def counting_noise_px2(mean: DoubleArray, counts_per_electron: float) -> float:
    """Return the counting variance, both axes together, of the CoM of a single pattern like a mean one (Qy, Qx)."""
    flat, (_, *axes) = mean.ravel(), _axes(mean.shape)
    total = max(float(flat.sum()), 1e-12)
    spread = sum(float(axis**2 @ flat) / total - (float(axis @ flat) / total) ** 2 for axis in axes)
    return counts_per_electron * max(spread, 0.0) / total


def _axes(shape: tuple[int, ...]) -> DoubleArray:
    """Return ones, rows and columns of all pixels, (3, Qy Qx)."""
    rows, cols = (axis - (n - 1) / 2 for axis, n in zip(np.indices(shape), shape, strict=True))
    return np.stack([np.ones(rows.size), rows.ravel(), cols.ravel()])


def _terms(rest_px: DoubleArray, knots: int) -> DoubleArray:
    """Return cubic splines along both axes (n, (knots + 3)^2) at a pixel's place in displaced patterns."""
    values = np.zeros((2, len(rest_px), knots + ORDER))
    for axis, remainder in enumerate(rest_px.T):
        place = knots * (0.5 - remainder)
        first = np.clip(np.floor(place), 0, knots - 1).astype(int)
        u = place - first
        cubic = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], axis=1) / 6
        values[axis][np.arange(len(remainder))[:, None], first[:, None] + np.arange(ORDER + 1)] = cubic
    return np.asarray((values[0][:, :, None] * values[1][:, None]).reshape(len(rest_px), (knots + ORDER) ** 2))


def _slow(field_place: DoubleArray, size: int) -> DoubleArray:
    """Return cosines along both axes of the scan (n, size^2 - 1), without the constant."""
    row, col = (np.cos(np.pi * (axis[:, None] + 1) / 2 * np.arange(size)) for axis in field_place.T)
    return np.asarray((row[:, :, None] * col[:, None]).reshape(len(field_place), size**2)[:, 1:])


def _powers(rest_px: DoubleArray) -> DoubleArray:
    """Return powers of row and column (n, terms) up to total order POLYNOMIAL_ORDER."""
    each = [(order - col, col) for order in range(POLYNOMIAL_ORDER + 1) for col in range(order + 1)]
    return np.stack([rest_px[:, 0] ** row * rest_px[:, 1] ** col for row, col in each], axis=1)
