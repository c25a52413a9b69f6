"""How steep the loss is along the steps of a sweep: the largest eigenvalue of steps times second derivatives.

A step against the gradient makes an error along an eigenvector grow where that eigenvalue exceeds 2. For one slice it
is bounded beforehand: the gradient passes back through a unitary transform, so no curvature exceeds the illumination's
by which steps are divided. Slices move together, and what one changes passes through all those behind it: by how much
their curvatures add depends on thickness, overlap, probe modes and specimen, so it is measured, by power iteration on
differences of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ptylive.engine.refine.solvers.loss_function import PatternLoss
from ptylive.schema.model import IndexArray

ITERATIONS = 5
"""From the direction of the step itself; one to two tenths are missing then."""
TRIAL_LENGTH = 0.01
"""Distance over which gradients are compared, in lengths of the step: large against rounding in single precision."""


def steepness(objective: PatternLoss, vector: Any, indices: IndexArray, scaled: Callable[[Any], Any]) -> float:
    """Largest eigenvalue of steps times Hessian of the loss of the patterns ``indices``; 0 where nothing moves.

    ``scaled`` makes a step of a gradient, in its place.
    """
    gradient = objective.evaluate(vector, indices).gradient
    force = gradient.copy()
    step = scaled(force.copy())
    length = float(objective.dot(step, force))
    unit, found = length, 0.0
    for _ in range(ITERATIONS):
        if not 0 < length < math.inf:
            break
        distance = np.float32(TRIAL_LENGTH * math.sqrt(unit / length))
        ahead = objective.evaluate(vector + distance * step, indices).gradient
        turned = (ahead - gradient) / distance
        found = max(found, abs(float(objective.dot(step, turned))) / length)
        force, step = turned, scaled(turned.copy())
        length = float(objective.dot(step, force))
    return found
