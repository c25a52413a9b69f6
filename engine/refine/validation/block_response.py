"""Effect of counting noise on the phase of one slice, solved for in the middle of a scan where rings only give means.

A ring of frequencies has one curvature and one noise power for the whole field. Atoms and the vacuum between them
differ in both, and if a detector pixel has few electrons the curvature along one wave differs much from that along the
next: the mean of the inverse exceeds the inverse of the mean. For some adjacent patterns the counts are therefore
redrawn around themselves, and H x = g, where g is the resulting change of the gradient, is solved by conjugate
gradients. Pixels are put into classes by their blurred phase; in each class, the power of x relative to the prediction
of the rings for the same pixels is the factor that the rings lack.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.validation.noise_response import (
    LIT,
    MOST_BYTES,
    TRIAL_RAD,
    Evaluated,
    physical_of,
    recounted,
)
from ptylive.schema.model import BoolArray, DoubleArray, FloatArray, IndexArray

SHARE, FEWEST, MOST = 1 / 16, 256, 1024
"""Share, minimum and maximum of the patterns used."""
DRAWS, STEPS = 1, 4
"""Number of draws of their counts, and of conjugate-gradient steps: six evaluations. They take 2 to 4 % of a run of
some seconds; ten times as much (1024 patterns, two draws, six steps) shows 0.05 to 0.1 more of what rings lack."""
INSIDE = 0.5
"""Share of a pixel's light that must come from these patterns for the pixel to move and count."""
CLASSES, FEWEST_PIXELS = 5, 40
"""Number of classes with equal numbers of pixels, and the minimum number of pixels in one."""
BLUR_PX = 2.0
"""Width of the Gaussian that blurs the phase used to distinguish atoms from the space between them."""
LEAST, GREATEST = 0.25, 9.0
"""Bounds of the factor: beyond them something else is wrong."""


@dataclass(frozen=True, eq=False)
class RingVariance:
    """Prediction of the rings of frequencies for each pixel."""

    variance: DoubleArray
    """(Y, X) variance of the phase."""
    free: DoubleArray
    """(Y, X) probability that nothing holds the pixel."""
    held: BoolArray
    """(Y, X) pixels that lie at the bound."""
    light: FloatArray
    """(Y, X) light of all patterns."""


@dataclass(frozen=True, eq=False)
class Unevenness:
    """Factor on a variance by rings, for each class of the blurred phase."""

    phase: DoubleArray
    """(classes,) mean phases, ascending."""
    factor: DoubleArray
    """(classes,) factors."""

    def at(self, phase: FloatArray) -> DoubleArray:
        """(Y, X) factors for a phase (Y, X), which is blurred here."""
        return np.asarray(np.interp(_blurred(phase), self.phase, self.factor))


def unevenness(
    problem: Problem, vector: FloatArray, context: TrialContext, seed: int, gain: float, rings: RingVariance
) -> DoubleArray | None:
    """(Y, X) factor on the variance by rings; None for several slices, objects with a modulus, or too few pixels.

    vector: (n,) parameters of a result, a numpy vector; gain: counts per electron. Raises RefinementError if no backend
    is available.
    """
    layout = problem.layout
    if layout.planes > 1 or layout.object_form is not ObjectForm.PHASE:
        return None
    phase = layout.object_block(vector).reshape(layout.object_shape[1:])
    moved, light = _moved(problem, vector, context, seed, gain, rings)
    fitted = compared(phase, moved, light, rings, between_positions(problem))
    return None if fitted is None else fitted.at(phase)


def compared(
    phase: FloatArray, moved: DoubleArray, light: FloatArray, rings: RingVariance, area: BoolArray
) -> Unevenness | None:
    """Compare power (draws, Y, X) with the rings, class by class; light (Y, X): that of the patterns."""
    share = light / np.maximum(rings.light.astype(np.float64), 1e-300)
    inside = area & _moving(light, rings)
    if inside.sum() < CLASSES * FEWEST_PIXELS:
        return None
    blurred, power = _blurred(phase), (moved**2).mean(axis=0)
    edges = np.quantile(blurred[inside], np.linspace(0, 1, CLASSES + 1)[1:-1])
    classes = [inside & (np.digitize(blurred, edges) == k) for k in range(CLASSES)]
    predicted = rings.free * rings.variance / np.maximum(share, INSIDE)
    measured = rings.free * power
    sums = [
        (blurred[pixels].mean(), measured[pixels].sum(), predicted[pixels].sum())
        for pixels in classes
        if predicted[pixels].sum() > 0
    ]
    if not sums:
        return None
    middles, observed, expected = np.array(sums, dtype=np.float64).T
    return Unevenness(middles, np.clip(observed / expected, LEAST, GREATEST))


def between_positions(problem: Problem) -> BoolArray:
    """(Y, X) pixels between the outermost positions."""
    at = (problem.positions_A - problem.grid.origin_A) / problem.grid.pixel_A
    low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int) + 1
    area = np.zeros(problem.layout.object_shape[1:], bool)
    area[max(low[0], 0) : high[0], max(low[1], 0) : high[1]] = True
    return area


def middle_patterns(problem: Problem) -> IndexArray:
    """Indices of the patterns used, which form a square."""
    patterns, positions_A = problem.multislice.patterns, problem.positions_A
    room = max(1, int(MOST_BYTES / (4.0 * (1 + DRAWS) * float(np.prod(patterns.shape[1:])))))
    most = min(MOST, max(FEWEST, int(SHARE * len(patterns))), room)
    distance = np.abs(positions_A - np.median(positions_A, axis=0)).max(axis=1)
    return np.sort(np.argsort(distance, kind="stable")[:most])


def _blurred(phase: FloatArray) -> DoubleArray:
    return np.asarray(gaussian_filter(np.asarray(phase, np.float64), BLUR_PX))


def _moving(light: FloatArray, rings: RingVariance) -> BoolArray:
    """(Y, X) pixels that these patterns determine and that no bound holds."""
    return np.asarray((light > INSIDE * rings.light) & (rings.light > LIT * rings.light.max()) & ~rings.held)


def _moved(
    problem: Problem, vector: FloatArray, context: TrialContext, seed: int, gain: float, rings: RingVariance
) -> tuple[DoubleArray, FloatArray]:
    """Phase changes (draws, Y, X) due to redrawn counts, and the light (Y, X) of these patterns."""
    chosen, layout = middle_patterns(problem), problem.layout
    few = recounted(problem.multislice, chosen, gain, np.random.default_rng([seed, 5]), DRAWS)
    physical = physical_of(layout.physical(vector, np), np.tile(chosen, 1 + DRAWS), problem.multislice.count)
    first, *redraws = np.arange(len(chosen) * (1 + DRAWS)).reshape(1 + DRAWS, -1)
    with closing(open_backend(context.backend, few, context.threads)) as backend:
        evaluated = Evaluated(backend, layout, physical)
        light = np.asarray(backend.to_numpy(backend.illumination(backend.xp.asarray(physical.probe), first)))
        start, moving = evaluated.by_phase(physical.object, first), _moving(light, rings)

        def curved(along: DoubleArray) -> DoubleArray:
            length = TRIAL_RAD / 2 / max(float(np.sqrt((along[moving] ** 2).mean())), 1e-300)
            ahead = evaluated.by_phase(evaluated.turned((length * along).astype(np.float32)), first)
            return np.where(moving, (ahead - start) / length, 0.0)

        scale = np.where(moving, 1 / np.maximum(light, 1e-30), 0.0)
        forces = [np.where(moving, start - evaluated.by_phase(physical.object, redraw), 0.0) for redraw in redraws]
        return np.array([solved(curved, force, scale) for force in forces]), light


def solved(curved: Callable[[DoubleArray], DoubleArray], force: DoubleArray, scale: DoubleArray) -> DoubleArray:
    """Solve H x = force by a few conjugate-gradient steps; curved: product with H; scale: approximate inverse of H."""
    residual, solution = force, np.zeros_like(force)
    along = scale * residual
    power = float((residual * along).sum())
    for _ in range(STEPS):
        if not power > 0:
            break
        bent = curved(along)
        curvature = float((along * bent).sum())
        if not curvature > 0:  # with few counts the loss may curve downwards
            break
        solution, residual = solution + power / curvature * along, residual - power / curvature * bent
        previous, power = power, float((residual * scale * residual).sum())
        along = scale * residual + power / previous * along
    return solution
