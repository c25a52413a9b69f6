"""Steepness of the loss along the steps of a sweep: the largest eigenvalue of steps times second derivatives.

A step against the gradient amplifies an error along an eigenvector whose eigenvalue exceeds 2. For one slice the
eigenvalue is bounded beforehand: the gradient passes back through a unitary transform, so no curvature exceeds that of
the illumination, by which steps are divided. Several slices move together, and a change of one passes through all
slices behind it. How much their curvatures add up depends on thickness, overlap, probe modes and specimen. It is
therefore measured, by power iteration on differences of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ptylive.engine.refine.solvers.loss_function import PatternLoss
from ptylive.schema.model import IndexArray

ITERATIONS = 5
"""Power iterations, starting from the direction of the step; the result is then one to two tenths too low."""
TRIAL_LENGTH = 0.01
"""Distance over which gradients are compared, in step lengths: large compared with single-precision rounding."""


def steepness(objective: PatternLoss, vector: Any, indices: IndexArray, scaled: Callable[[Any], Any]) -> float:
    """Largest eigenvalue of steps times the Hessian of the loss of the patterns ``indices``; 0 if nothing moves.

    ``scaled`` turns a gradient into a step, in place.
    """
    gradient = objective.evaluate(vector, indices).gradient
    force = gradient.copy()
    step = scaled(force.copy())
    length = float(objective.dot(step, force))
    unit, largest = length, 0.0
    for _ in range(ITERATIONS):
        if not 0 < length < math.inf:
            break
        distance = np.float32(TRIAL_LENGTH * math.sqrt(unit / length))
        shifted = objective.evaluate(vector + distance * step, indices).gradient
        turned = (shifted - gradient) / distance
        largest = max(largest, abs(float(objective.dot(step, turned))) / length)
        force, step = turned, scaled(turned.copy())
        length = float(objective.dot(step, force))
    return largest
