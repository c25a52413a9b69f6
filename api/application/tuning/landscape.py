"""The loss as a function of the varied values, from scattered trials: a Gaussian process fitted to their losses.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2 and 5.4.1: squared exponential
covariance with one length scale per value, constant mean, lengths and noise at the maximum of the marginal likelihood
under broad priors. Values are in units of their range, words at the corners of a simplex; the process models the
logarithm of the loss, because a start that is far off has a loss many times that of the end.

The scatter of the losses is also known independently of the trials: each trial gives the loss of several groups of
patterns, the same in all trials. The variation of the difference between two places, as one group after the other is
left out (the jackknife), is the part of that difference that is due to the choice of patterns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.tunables import Kind
from ptylive.schema.model import DoubleArray

CANDIDATES = 512
"""Random places from which a minimum is searched for."""
STARTS = 2
"""Number of the best of them from which a descent is started."""
LENGTH, LENGTH_SPREAD = 0.5, 1.0
NOISE, NOISE_SPREAD = 0.02, 1.5
"""Medians and logarithmic standard deviations of the priors, in units of the range and of the spread of the losses."""
BOUNDS = (np.log(0.05), np.log(20.0))
NOISE_BOUNDS = (np.log(1e-4), np.log(1.0))
LEAST_HEIGHT = 1e-9
PRESSED = 0.1
"""Heights above the median of the heights, or above this share of the largest if that is more, are compressed: with
many trials near the minimum the median lies there.
"""


@dataclass(frozen=True)
class Landscape:
    """A fitted landscape. Places (n, dimensions) are in units of the ranges, including words and whole numbers."""

    over: tuple[Range, ...]
    places: DoubleArray
    """(trials, dimensions)."""
    scaled: DoubleArray
    """(1 + groups, trials) logarithm of the loss, in units of its spread: for all groups, then without each of them."""
    middle: float
    """Height above which the logarithm of the loss is compressed."""
    mean: float
    spread: float
    lengths: DoubleArray
    """(dimensions,)."""
    noise: float
    power: float
    """Variance of the process, in units of the spread."""
    inverse: DoubleArray
    """(trials, trials) inverse of the covariance with noise."""

    @classmethod
    def of(cls, over: Sequence[Range], values: Sequence[Mapping[str, Any]], groups: DoubleArray) -> Landscape:
        """Fit to trials of ``values``; groups: (trials, groups) losses. Raises ValueError for fewer than three."""
        if len(values) < 3:
            raise ValueError("a landscape needs three trials")
        places = np.array([[value_range.place(value[value_range.name]) for value_range in over] for value in values])
        total, count = groups.sum(axis=1), groups.shape[1]
        rows = [total / count] + [(total - groups[:, g]) / max(1, count - 1) for g in range(count if count > 1 else 0)]
        heights = np.array(rows)
        heights = np.log(heights) if (heights > 0).all() else heights
        # each relative to its own best: losses differ more between groups of patterns than between trials
        above = heights - heights[:, [int(np.argmin(heights[0]))]]
        middle = max(float(np.median(above[0])), PRESSED * float(above[0].max()), LEAST_HEIGHT)
        flat = _flattened(above, middle)
        mean, spread = float(flat[0].mean()), float(max(flat[0].std(), LEAST_HEIGHT))
        scaled = (flat - mean) / spread
        distances = _distances(over, places, places)
        lengths, noise = _fitted(distances, scaled[0])
        inverse: DoubleArray = np.linalg.inv(_covariance(distances, lengths, noise)).astype(np.float64)
        power = float(scaled[0] @ inverse @ scaled[0]) / len(places)
        return cls(tuple(over), places, scaled, middle, mean, spread, lengths, noise, power, inverse)

    def heights(self, places: DoubleArray) -> DoubleArray:
        """(1 + groups, n) logarithm of the loss above that of the best trial, compressed where it is high, at
        places (n, dimensions).
        """
        return np.asarray(self.mean + self.spread * (self.scaled @ self.inverse @ self._kernel(places).T))

    def _kernel(self, places: DoubleArray) -> DoubleArray:
        """(n, trials) covariance of places with the trials."""
        return np.asarray(
            np.exp(-0.5 * np.tensordot(_distances(self.over, places, self.places), self.lengths**-2.0, 1))
        )

    def rise(self, place: DoubleArray, above: DoubleArray) -> tuple[float, float]:
        """Height of one place above another, in terms of :meth:`heights`, and its standard deviation."""
        pair = np.stack([place, above])
        first, second = self.heights(pair).T
        differences = first - second
        groups = differences[1:]
        patterns = (len(groups) - 1) * float(groups.var()) if len(groups) > 1 else 0.0
        cross = self._kernel(pair)
        between = np.exp(-0.5 * _distances(self.over, pair[:1], pair[1:]) @ self.lengths**-2.0)
        gap = cross[0] - cross[1]
        fit = max(0.0, float(2 - 2 * between[0, 0] - gap @ self.inverse @ gap)) * self.power * self.spread**2
        return float(differences[0]), float(np.sqrt(patterns + fit))

    def shares(self, rise: DoubleArray, deviation: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Convert compressed rises above the best, and their standard deviations, to shares of the loss itself."""
        steep = np.exp(rise / self.middle)
        share = np.expm1(self.middle * (steep - 1))
        return share, (1 + share) * steep * deviation

    def lowest(self, fixed: Mapping[int, float] | None = None) -> DoubleArray:
        """The place (dimensions,) of the lowest loss, with some dimensions held fixed."""
        from scipy.optimize import minimize

        fixed_places = dict(fixed or {})
        weights = self.inverse @ self.scaled[0]
        start = self._candidates(fixed_places)
        best = start[np.argsort(self._kernel(start) @ weights, kind="stable")[:STARTS]]
        moving = [k for k, item in enumerate(self.over) if k not in fixed_places and item.kind == Kind.NUMBER]
        minima: list[tuple[float, DoubleArray]] = []
        for place in best:
            if moving:

                def height(part: DoubleArray, place: DoubleArray = place) -> float:
                    moved = place.copy()
                    moved[moving] = part
                    return float(self._kernel(moved[None])[0] @ weights)

                walked = minimize(height, place[moving], method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(moving))
                place[moving] = walked.x
            minima.append((float(self._kernel(place[None])[0] @ weights), place))
        return min(minima, key=lambda item: item[0])[1]

    def _candidates(self, fixed_places: Mapping[int, float]) -> DoubleArray:
        """Random places, and those of the trials, each rounded to a possible value."""
        random = np.random.default_rng(0).random((CANDIDATES, len(self.over)))
        places = np.concatenate([self.places, random])
        for k, value_range in enumerate(self.over):
            if k in fixed_places:
                places[:, k] = fixed_places[k]
            elif value_range.kind != Kind.NUMBER:
                places[:, k] = [value_range.place(value_range.value(place)) for place in places[:, k]]
        return places

    def values(self, place: DoubleArray) -> dict[str, Any]:
        """The values at a place."""
        return {
            value_range.name: value_range.value(float(coordinate))
            for value_range, coordinate in zip(self.over, place, strict=True)
        }


def _flattened(above: DoubleArray, middle: float) -> DoubleArray:
    """Heights, with those beyond ``middle`` compressed: they only show where the minimum is not, and a process that
    followed them would be too rough near it. Small heights are left unchanged.
    """
    return np.asarray(middle * np.log1p(np.maximum(above, -middle / 2) / middle))


def _distances(over: Sequence[Range], first: DoubleArray, second: DoubleArray) -> DoubleArray:
    """(n, m, dimensions) squared distances; two different words are always 1 apart."""
    squares = (first[:, None, :] - second[None, :, :]) ** 2
    for k, value_range in enumerate(over):
        if value_range.kind == Kind.CHOICE:
            squares[..., k] = squares[..., k] > 1e-9
    return squares


def _covariance(distances: DoubleArray, lengths: DoubleArray, noise: float) -> DoubleArray:
    covariance = np.exp(-0.5 * np.tensordot(distances, lengths**-2.0, 1))
    return np.asarray(covariance + (noise**2 + 1e-8) * np.eye(len(covariance)))


def _fitted(distances: DoubleArray, heights: DoubleArray) -> tuple[DoubleArray, float]:
    """Lengths (dimensions,) and noise with the largest posterior probability, at the best amplitude."""
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    dimensions = distances.shape[-1]

    def cost(logs: DoubleArray) -> float:
        factor = cho_factor(_covariance(distances, np.exp(logs[:-1]), float(np.exp(logs[-1]))), lower=True)
        power = float(heights @ cho_solve(factor, heights)) / len(heights)
        likelihood = 0.5 * len(heights) * np.log(max(power, 1e-12)) + np.log(np.diag(factor[0])).sum()
        prior = ((logs[:-1] - np.log(LENGTH)) ** 2).sum() / LENGTH_SPREAD**2
        prior += (logs[-1] - np.log(NOISE)) ** 2 / NOISE_SPREAD**2
        return float(likelihood + 0.5 * prior)

    starts = [np.array([np.log(length)] * dimensions + [np.log(NOISE)]) for length in (0.3, 1.0)]
    bounds = [BOUNDS] * dimensions + [NOISE_BOUNDS]
    best = min((minimize(cost, item, method="L-BFGS-B", bounds=bounds) for item in starts), key=lambda item: item.fun)
    return np.asarray(np.exp(best.x[:-1]), dtype=np.float64), float(np.exp(best.x[-1]))
