"""L-BFGS scaling and backtracking line search of PyPty, for comparing runs with it (``optimizer = "pypty"``).

H0 uses no known curvature: every quantity b has a Barzilai-Borwein factor gamma_b = s_b.y_b / y_b.y_b from the newest
pair, doubled for complex quantities (PyPty writes them with Wirtinger gradients). Before there is a pair, the
gradient of the object is used unscaled, and every other quantity is scaled to the same directional derivative. PyPty
does so even when the gradient is nothing but rounding, as the gradient of the positions is on a uniform object, and
then places the points at random; here such a quantity waits for the next step.

The line search multiplies a step that is too short by ``optimism`` and one that is too long by ``reduce_factor``; it
neither brackets nor interpolates. If both Wolfe conditions fail, PyPty draws a random step; here the step is reduced,
so that runs are reproducible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.solvers.line_search import Point, SearchResult, stepped, tangent_of
from ptylive.engine.refine.solvers.loss_function import LossFunction, VectorLayout
from ptylive.engine.refine.solvers.pairs import Pair, whole

ROUNDING = 100 * float(np.finfo(np.float32).eps)
"""Rounding error of a gradient of thousands of terms relative to the object's, both scaled by the known curvature."""


@dataclass(frozen=True)
class FactorOfEachQuantity:
    """See :class:`ptylive.engine.refine.solvers.descent.Scaling`; the known curvature only identifies rounding."""

    def scaled(self, objective: LossFunction, inverse_curvature: Any, pairs: tuple[Pair, ...], gradient: Any) -> Any:
        """Return H0 times a gradient (a vector)."""
        return block_scaled(objective.layout, inverse_curvature, pairs, gradient, objective.xp)


def block_scaled(layout: VectorLayout, inverse_curvature: Any, pairs: tuple[Pair, ...], gradient: Any, xp: Any) -> Any:
    """Return H0 times a gradient (a vector), with one factor for each quantity."""
    parts = layout.quantities()
    if pairs:
        newest = (whole(pairs[-1][0], xp), whole(pairs[-1][1], xp))
        factors = [_barzilai_borwein(newest, part, xp) * (2.0 if is_complex else 1.0) for part, is_complex in parts]
    else:
        factors = _first_factors(parts, inverse_curvature, gradient, xp)
    scaled = gradient.copy()
    for (part, _), factor in zip(parts, factors, strict=True):
        scaled[part] *= gradient.dtype.type(factor)
    return scaled


def _first_factors(parts: list[tuple[slice, bool]], inverse_curvature: Any, gradient: Any, xp: Any) -> list[float]:
    """Factors before there is a pair: 1 for a real object, 1/2 for a complex one. Every other quantity gets the factor
    that makes its directional derivative equal to the object's, or 0 where its gradient is rounding.
    """
    first, complex_object = parts[0]
    weight = 0.5 if complex_object else 1.0
    derivative = weight * float(xp.dot(gradient[first], gradient[first]))
    likely_fall = inverse_curvature * gradient * gradient
    least_fall = ROUNDING**2 * float(xp.sum(likely_fall[first]))
    factors = [weight]
    for part, _ in parts[1:]:
        power = float(xp.dot(gradient[part], gradient[part]))
        factors.append(derivative / power if float(xp.sum(likely_fall[part])) > least_fall else 0.0)
    return factors


def _barzilai_borwein(pair: Pair, part: slice, xp: Any) -> float:
    """s.y / y.y of one quantity; 0 if it did not move or its curvature is negative."""
    s, y = pair[0][part], pair[1][part]
    power = float(xp.dot(y, y))
    return max(float(xp.dot(s, y)) / power, 0.0) if power > 0 else 0.0


@dataclass(frozen=True)
class BacktrackingSearch:
    """PyPty's rule (conditions: :mod:`ptylive.engine.refine.solvers.line_search`), starting with ``first_step``."""

    c1: float
    c2: float
    max_count: int
    first_step: float = 1.0
    reduce_factor: float = 0.1
    optimism: float = 3.0
    min_step: float = 1e-20

    def along(self, objective: LossFunction, start: Point, direction: Any) -> SearchResult:
        """See :class:`ptylive.engine.refine.solvers.line_search.Search`."""
        derivative = float(objective.dot(start.gradient, direction))
        step, accepted, count = self.first_step, None, 0
        while count < self.max_count and step >= self.min_step:
            count += 1
            vector = stepped(objective, start.vector, step, direction)
            expected = float(objective.dot(start.gradient, vector - start.vector))
            result = objective.evaluate(vector)
            loss = float(result.loss)
            falls = math.isfinite(loss) and loss <= start.loss + self.c1 * expected
            if not falls or loss >= start.loss:
                if accepted is not None:
                    break  # keep the step before it was extended
                step *= self.reduce_factor
                continue
            accepted = Point(vector, loss, result.gradient)
            if float(objective.dot(result.gradient, tangent_of(objective, vector, direction))) >= self.c2 * derivative:
                break
            step *= self.optimism
        return SearchResult(accepted, count)
