"""Beam current during a scan, from the total counts of its patterns.

A current that changes multiplies all counts of a pattern. A specimen that scatters beyond the detector lowers the total
too, but changes the pattern's shape with it. So the part of the total's logarithm that the shape predicts (ridge
regression on principal components of patterns of unit sum) is the specimen's, and the rest is the beam's. The
regression is made on deviations from the means of the rows: over the whole scan, a slow decay of the current and a slow
wander of the pattern would predict each other.

Slow changes are those of the rows' means. A specimen changes along rows as much as across them, so the variance between
rows must exceed that within them, and the dark field must not brighten as totals fall. Fast ones, from pattern to
pattern, must exceed the noise of electrons, differ from row to row, and the shape must not predict them. The noise is
that of the shape: the median variance of its principal components, of which only few are the specimen's, in units of
the counts' root.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.imaging.accumulation.beam import BeamCurrent
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

MOST_TIMES = 2.0
"""Ratio to the median by which totals may differ: the beam was blanked, or a bar hides it, where they differ more."""
LEAST_LINES = 8
"""Least number of rows, and of columns, in which changes are looked for."""
COMPONENTS, POINTS_EACH = 20, 16
"""Most principal components of the shape, and least number of patterns for each."""
FOLDS = 8
"""Parts of the scan, one of which at a time is predicted from the others."""
RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Penalties that are compared, relative to the variance of a component."""
LEAST_PREDICTED, MOST_PREDICTED = 0.05, 0.2
"""Share of the variance within rows from which a prediction is used: one by chance would take as much from the beam's
changes. Share up to which fast changes are the beam's.
"""
ALIKE = 0.2
"""Correlation of neighbouring rows up to which fast changes are the beam's: those of a specimen are alike in both."""
ANISOTROPY = 4.0
"""Ratio of the variance between rows to that within them, noise excluded, from which slow changes are the beam's."""
OPPOSITE, MOST_BEYOND = -0.7, 3.0
"""Correlation of slow changes with the share of the dark field below which they may be the specimen's, and most
electrons that it scatters beyond the detector for each that it scatters into the dark field.
"""
CERTAIN, EXCESS = 4.0, 2.0
"""Ratio to its noise from which the variance between rows is not chance, and to that of electrons from which totals
scatter too much: it is estimated to within a third.
"""
HARMLESS = 0.005
"""Relative changes, as root mean squares, below which nothing is corrected."""
LIT = 0.2
"""Share of the median count below which a coefficient is too dark for its noise to be measured."""
PATTERNS_EACH = 4
"""Least number of patterns for each coefficient of which the noise is measured: with fewer, it comes out low."""
MOST_NUMBERS = 2**24
"""Numbers of patterns in memory at a time: the regression leaves out rows, evenly, if there are more."""


def beam_current(store: Store) -> BeamCurrent | None:
    """Return the beam current at the points of a scan: as given, or as measured; None if it does not change.

    Nor is a change measured that may be the specimen's.
    """
    rows, columns = store.shape
    given = store.header.scan.beam_current
    if given is not None:
        by_row = np.broadcast_to(np.asarray(given), rows)
        return None if len(given) == 1 else BeamCurrent(np.repeat(by_row, columns), by_row, float(by_row.std()), 0.0)
    totals = np.asarray(store.per_frame(store.moments)[:, 0])
    seen = store.visited.ravel() & (totals > 0)
    usual = float(np.median(totals[seen])) if seen.any() else 0.0
    lit = (seen & (totals > usual / MOST_TIMES) & (totals < usual * MOST_TIMES)).reshape(store.shape)
    full = np.flatnonzero(lit.sum(axis=1) > columns // 2)
    if len(full) < LEAST_LINES or columns < LEAST_LINES or store.header.basis.of == "sqrt_intensity":
        return None
    lit[np.setdiff1d(np.arange(rows), full)] = False
    points = np.flatnonzero(lit)
    row = np.searchsorted(full, points // columns)
    logs = np.log(totals[points])
    specimen = _Specimen.of(store, points, row, totals)
    rest = logs - logs.mean() - specimen.part_of(store, points, totals)
    slow = np.bincount(row, rest) / np.bincount(row)
    freedom = len(points) - len(full)
    within, among = (float((_within(values, row) ** 2).sum()) / freedom for values in (rest, logs))
    noise, between = min(within, specimen.noise), float(slow.var(ddof=1))
    of_row = within * len(full) / len(points)
    is_slow = between > max(CERTAIN * of_row, ANISOTROPY * (among - noise), HARMLESS**2)
    is_slow = is_slow and not _darkens(store, points, row, totals, slow)
    harmful = within > EXCESS * noise and (is_slow or within - noise > HARMLESS**2)
    is_fast = (
        harmful and specimen.predicted < MOST_PREDICTED and _across(_within(rest, row), points, store.shape) < ALIKE
    )
    if not (is_slow or is_fast):
        return None
    relative, by_row = np.ones(rows * columns), np.ones(rows)
    relative[points] = np.exp(rest if is_fast else _between_rows(slow, rest, full, points, store))
    by_row[full] = np.exp(slow) if is_slow else 1.0
    return BeamCurrent(
        relative,
        by_row,
        slow=math.sqrt(between) if is_slow else 0.0,
        fast=math.sqrt(within - noise) if is_fast else 0.0,
    )


def with_beam_current(calibration: Calibration, store: Store) -> Calibration:
    """Add ``beam_current``, relative, by row if it changes slowly, and ``beam_flicker``, root mean square, if fast."""
    found: dict[str, Quantity] = {}
    if store.beam is not None and store.beam.slow and store.header.scan.beam_current is None:
        found["beam_current"] = Quantity(tuple(store.beam.by_row.round(5).tolist()), Origin.ESTIMATED)
    if store.beam is not None and store.beam.fast:
        found["beam_flicker"] = Quantity(store.beam.fast, Origin.ESTIMATED)
    return calibration.having(**found)


@dataclass(frozen=True, eq=False)
class _Specimen:
    """What the shape of a pattern tells of its total."""

    mean: FloatArray
    """(N,) mean coefficients of patterns of unit sum."""
    vectors: FloatArray
    """(N, c) principal components of their deviations from it."""
    regions: DoubleArray
    """(4,) mean sums of the regions of these patterns."""
    centre: DoubleArray
    scale: DoubleArray
    """(m,) means and standard deviations of the components, the regions' shares, and the squares of both."""
    weights: DoubleArray
    """(m,) of these for the logarithm of the total."""
    predicted: float
    """Share of its variance within rows that parts of the scan predict of the others."""
    noise: float
    """Variance of the logarithm of a total by counting; infinite where it is not known, for coefficients."""

    @classmethod
    def of(cls, store: Store, points: IndexArray, row: IndexArray, totals: DoubleArray) -> _Specimen:
        """Learn it on the points (n,), which lie in the rows ``row`` (n,), numbered from 0; totals of all points."""
        numbers = len(points) * store.reduction.basis.count
        used = row % math.ceil(numbers / MOST_NUMBERS) == 0
        points, row = points[used], np.unique(row[used], return_inverse=True)[1]
        shares = _shares(store, points, totals)
        mean: FloatArray = shares.mean(axis=0)
        inner = _within(shares - mean, row).astype(np.float32)
        _, vectors = np.linalg.eigh(inner.T @ inner)
        count = min(COMPONENTS, max(1, len(points) // POINTS_EACH), len(vectors))
        regions = (store.per_frame(store.regions[points], points) / totals[points, None]).mean(axis=0)
        noise = _noise(store, inner, mean, row)
        plain = cls(mean, vectors[:, -count:], regions, np.zeros(1), np.ones(1), np.zeros(1), 0.0, noise)
        shape = plain._shape(store, points, totals)
        centre, scale = shape.mean(axis=0), np.maximum(shape.std(axis=0), 1e-300)
        weights, predicted = _ridge(_within((shape - centre) / scale, row), _within(np.log(totals[points]), row), row)
        return replace(plain, centre=centre, scale=scale, weights=weights, predicted=predicted)

    def part_of(self, store: Store, points: IndexArray, totals: DoubleArray) -> DoubleArray:
        """Return the part (n,) of the logarithms of the totals of points (n,) that is the specimen's."""
        at_once = max(1, MOST_NUMBERS // store.reduction.basis.count)
        parts = [points[first : first + at_once] for first in range(0, len(points), at_once)]
        found = [(self._shape(store, part, totals) - self.centre) / self.scale @ self.weights for part in parts]
        return np.concatenate(found)

    def _shape(self, store: Store, points: IndexArray, totals: DoubleArray) -> DoubleArray:
        """Return components, shares of the regions, and the squares of both (n, m)."""
        components = (_shares(store, points, totals) - self.mean) @ self.vectors
        regions = store.per_frame(store.regions[points], points) / totals[points, None]
        linear = np.concatenate([components, regions - self.regions], axis=1)
        return np.concatenate([linear, linear**2], axis=1)


def _shares(store: Store, points: IndexArray, totals: DoubleArray) -> FloatArray:
    """Coefficients (n, N) of patterns of unit sum."""
    return np.asarray(store.per_frame(store.bins[points], points) / totals[points, None].astype(np.float32))


def _noise(store: Store, inner: FloatArray, mean: FloatArray, row: IndexArray) -> float:
    """Variance of the logarithm of a total by counting, from shares (n, N) without the means of their rows."""
    if not (store.header.basis.is_raw and (mean > 0).any()):
        return math.inf
    freedom = len(inner) - int(row.max()) - 1
    bright = np.flatnonzero(mean > LIT * float(np.median(mean[mean > 0])))
    bright = bright[:: max(1, math.ceil(len(bright) * PATTERNS_EACH / freedom))]
    white = inner[:, bright] / np.sqrt(mean[bright])
    return float(np.median(np.linalg.eigvalsh(white.T @ white))) / freedom


def _within(values: Array, row: IndexArray) -> DoubleArray:
    """Values (n,) or (n, m) without the means of their rows."""
    count = np.bincount(row)
    if values.ndim == 1:
        return np.asarray(values - (np.bincount(row, values) / count)[row])
    means = np.stack([np.bincount(row, column) / count for column in values.T], axis=1)
    return np.asarray(values - means[row])


def _darkens(store: Store, points: IndexArray, row: IndexArray, totals: DoubleArray, slow: DoubleArray) -> bool:
    """Whether rows with smaller totals scatter more into the dark field, as at an edge of a specimen along the rows."""
    dark = store.per_frame(store.regions[points], points)[:, REGIONS.index("dark")] / totals[points]
    by_row = np.bincount(row, dark) / np.bincount(row)
    noise = float((_within(dark, row) ** 2).mean()) * len(by_row) / len(points)
    if by_row.var() <= CERTAIN * noise:
        return False
    alike = float(np.corrcoef(by_row, slow)[0, 1])
    return alike < OPPOSITE and -alike * slow.std() < MOST_BEYOND * by_row.std()


def _between_rows(
    slow: DoubleArray, rest: DoubleArray, full: IndexArray, points: IndexArray, store: Store
) -> DoubleArray:
    """Slow change (n,) at points (n,) from that of rows ``full``: in steps, or linear in time if that fits better."""
    row, column = np.divmod(points, store.shape[1])
    backwards = (row % 2 == 1) & (store.header.scan.pattern == "snake")
    part = (column + 0.5) / store.shape[1]
    time = row + np.where(backwards, 1 - part, part)
    candidates = slow[np.searchsorted(full, row)], np.interp(time, full + 0.5, slow)
    return min(candidates, key=lambda change: float(((rest - change) ** 2).sum()))


def _across(values: DoubleArray, points: IndexArray, shape: tuple[int, int]) -> float:
    """Correlation of values (n,) at points (n,) of a scan with those one row further."""
    on_grid = np.zeros(shape)
    on_grid.ravel()[points] = values
    return float((on_grid[1:] * on_grid[:-1]).sum() / max(float((values**2).sum()), 1e-300))


def _ridge(shape: DoubleArray, logs: DoubleArray, row: IndexArray) -> tuple[DoubleArray, float]:
    """Weights (m,) that predict ``logs`` (n,) best in parts of the scan from all others, and the share predicted."""
    fold = row * FOLDS // (int(row.max()) + 1)
    parts = [(shape[fold == n], logs[fold == n]) for n in range(FOLDS)]
    squares, products = [x.T @ x for x, _ in parts], [x.T @ y for x, y in parts]
    square, product = np.sum(squares, axis=0), np.sum(products, axis=0)
    unit = float(np.trace(square)) / len(square) * np.eye(len(square))
    best, weights = LEAST_PREDICTED, np.zeros(len(square))
    for ridge in RIDGES if square.any() else ():  # patterns that are all the same predict nothing
        left = 0.0
        for (x, y), own_square, own_product in zip(parts, squares, products, strict=True):
            some = np.linalg.solve(square - own_square + ridge * unit, product - own_product)
            left += float(((y - x @ some) ** 2).sum())
        share = 1 - left / max(float((logs**2).sum()), 1e-300)
        if share > best:
            best, weights = share, np.linalg.solve(square + ridge * unit, product)
    return weights, best if weights.any() else 0.0
