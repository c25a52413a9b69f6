"""Step length for L-BFGS: weak Wolfe conditions with a bracket, along the projected path x(t) = P(x + t d).

    W1  L(x(t)) <= L(x) + c1 g . (x(t) - x)        W2  g(x(t)) . x'(t) >= c2 g . d

If W1 fails, the step is too long, and a parabola inside the bracket gives the next one. If W2 fails, it is too short,
and the next one comes from the secant of the derivatives or, once an upper end is known, is the midpoint. Every
accepted step lowers the loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ptylive.engine.refine.solvers.loss_function import LossFunction

EDGE = 0.1
"""Interpolated steps stay this share of the bracket away from its ends."""
GROWTH = (1.5, 10.0)
"""Least and largest factor by which the secant method lengthens a step."""


@dataclass(frozen=True)
class Point:
    """Parameters with their loss and gradient."""

    vector: Any
    loss: float
    gradient: Any


@dataclass(frozen=True)
class SearchResult:
    """The accepted point, or None if no step lowered the loss, and the number of evaluations."""

    point: Point | None
    evaluations: int


class LineSearch(Protocol):
    """Rule that finds a step length."""

    def along(self, objective: LossFunction, start: Point, direction: Any) -> SearchResult:
        """Search along ``direction``, a descent direction: gradient . direction < 0."""
        ...


@dataclass(frozen=True)
class WolfeSearch:
    """Search for the conditions above, starting with step 1; at most ``max_count`` evaluations."""

    c1: float
    c2: float
    max_count: int

    def along(self, objective: LossFunction, start: Point, direction: Any) -> SearchResult:
        """See :class:`LineSearch`."""
        derivative = float(objective.dot(start.gradient, direction))
        step, low, high = 1.0, 0.0, math.inf
        low_loss, low_derivative = start.loss, derivative
        accepted: Point | None = None
        for count in range(1, self.max_count + 1):
            vector = stepped(objective, start.vector, step, direction)
            expected = float(objective.dot(start.gradient, vector - start.vector))
            result = objective.evaluate(vector)
            loss = float(result.loss)
            if not math.isfinite(loss) or loss > start.loss + self.c1 * expected or loss >= start.loss:
                del vector, result  # free the memory before the next are allocated
                high = step
                step = low + _parabola(loss - low_loss, low_derivative, high - low)
                continue
            accepted = Point(vector, loss, result.gradient)
            tangent = float(objective.dot(result.gradient, tangent_of(objective, vector, direction)))
            del vector, result
            if tangent >= self.c2 * derivative:
                return SearchResult(accepted, count)
            extension = _secant(low_derivative, tangent, step - low)
            low, low_loss, low_derivative = step, loss, tangent
            step = (low + high) / 2 if math.isfinite(high) else low + extension
        return SearchResult(accepted, self.max_count)


def stepped(objective: LossFunction, vector: Any, step: float, direction: Any) -> Any:
    """Return a new vector: the allowed one nearest to ``vector`` + step * direction."""
    moved = np.float32(step) * direction
    moved += vector
    return objective.project(moved)


def tangent_of(objective: LossFunction, vector: Any, direction: Any) -> Any:
    """Derivative of the projected path: parameters that have reached their bound no longer move."""
    bounds = objective.layout.lower_bounds()
    if not bounds:
        return direction
    moving = direction.copy()
    for part, lowest in bounds:
        moving[part][(vector[part] <= lowest) & (direction[part] < 0)] = 0
    return moving


def _parabola(rise: float, derivative: float, width: float) -> float:
    """Minimum of the parabola with ``derivative`` at 0 and ``rise`` at ``width``, kept away from the ends."""
    curvature = rise - derivative * width
    best = -derivative * width * width / (2 * curvature) if math.isfinite(curvature) and curvature > 0 else 0.0
    return min(max(best, EDGE * width), (1 - EDGE) * width)


def _secant(derivative: float, new_derivative: float, width: float) -> float:
    """Distance to the point where the derivative should vanish, estimated from its change over ``width``."""
    change = new_derivative - derivative
    guess = -new_derivative * width / change if change > 0 else math.inf
    return min(max(guess, (GROWTH[0] - 1) * width), (GROWTH[1] - 1) * width)
