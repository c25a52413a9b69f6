"""Effect of pattern noise on the phase of an object, frequency by frequency, measured on some patterns.

Curvature: change of the gradient with respect to the phase when white noise is added to the phase of all slices, by
central differences. Noise: its change when the patterns are counted once more, each pixel from a Poisson distribution
around its counts, which has their variance. Both are averaged over rings of frequencies and divided by the incident
light, so that a few patterns from all over the scan represent all of it.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend, MultisliceProblem
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout, Physical
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

SHARE, FEWEST, MOST = 1 / 16, 16, 256
"""Share, minimum and maximum of patterns used: four evaluations of a sixteenth cost at most a quarter of an epoch."""
MOST_BYTES = 2**28
"""Maximum memory of the patterns used, together with their recounted copies."""
TRIAL_RAD = 0.02
"""Phase by which curvature is measured: large compared with single-precision rounding, small compared with a radian."""
LIT = 0.01
"""Share of the largest light above which a pixel is lit."""
LIT_WINDOWS, MOST_TRIALS = 16, 8
"""Number of windows of lit pixels to which white noise is added, and the maximum number of trials."""
MOST_COUNTS = 65535
"""Largest counts stored in two bytes."""
BYTES_A_PIXEL = 48
"""Memory per pixel of each slice: two gradients and what they are computed from."""


@dataclass(frozen=True, eq=False)
class NoiseResponse:
    """Response by rings of frequencies, along the phase that all slices share, per unit of light."""

    curvature: DoubleArray
    """(rings,) curvature of the data term."""
    noise: DoubleArray
    """(rings,) power of the gradient's counting noise."""
    pixels: DoubleArray
    """(rings,) share of all frequencies."""
    patterns: int
    """Number of patterns it was measured on."""


def sampled(problem: Problem, seed: int) -> IndexArray:
    """Indices of the patterns used, from all over the scan."""
    count, pattern_bytes = problem.multislice.count, 8.0 * float(np.prod(problem.multislice.patterns.shape[1:]))
    most = min(MOST, max(FEWEST, int(count * SHARE)), max(1, int(MOST_BYTES / pattern_bytes)), count)
    return np.sort(np.random.default_rng([seed, 1]).permutation(count)[:most])


def measured_response(
    problem: Problem, vector: Array, context: TrialContext, seed: int, counts_per_electron: float
) -> NoiseResponse:
    """Measure the response around the parameters of a result (n,), a numpy vector.

    Raises RefinementError if no backend is available.
    """
    rng, chosen = np.random.default_rng([seed, 2]), sampled(problem, seed)
    few, layout, count = (
        recounted(problem.multislice, chosen, counts_per_electron, rng),
        problem.layout,
        len(chosen),
    )
    physical = physical_of(layout.physical(vector, np), np.tile(chosen, 2), problem.multislice.count)
    with closing(open_backend(context.backend, few, context.threads)) as backend:
        evaluated = Evaluated(backend, layout, physical)
        first, second = np.arange(count), np.arange(count, 2 * count)
        noise = evaluated.by_phase(physical.object, second) - evaluated.by_phase(physical.object, first)
        light = backend.to_numpy(backend.illumination(backend.xp.asarray(physical.probe), first))
        length, window = TRIAL_RAD / layout.object_shape[0], layout.window
        slopes = []
        for number in range(_trials(light, window)):
            white = white_noise(noise.shape, np.random.default_rng([seed, 4, number]))
            ahead, behind = (evaluated.by_phase(evaluated.turned(side * length * white), first) for side in (1, -1))
            slopes.append(by_rings(white, (ahead - behind) / (2 * length), window))
    return NoiseResponse(
        curvature=np.mean(slopes, axis=0) / float(light.mean()),
        noise=by_rings(noise, noise, window) / float(light.mean()),
        pixels=share_of_rings(noise.shape, window),
        patterns=count,
    )


def _trials(light: FloatArray, window: int) -> int:
    """How often white noise is added: the fewer pixels are lit, the fewer frequencies each ring averages over.

    The divisor must be known well: the mean square of its inverse is larger than the squared inverse of its mean.
    """
    lit = float((light > LIT * light.max()).sum())
    return max(1, min(MOST_TRIALS, math.ceil(LIT_WINDOWS * window**2 / max(lit, 1.0))))


def white_noise(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """(Y, X) plane of ones with random sign."""
    return np.asarray(rng.choice(np.array([-1, 1], dtype=np.float32), size=shape))


def by_rings(first: FloatArray, second: FloatArray, window: int) -> DoubleArray:
    """Mean of the cross-spectrum of two planes (Y, X) over each ring, per pixel."""
    crossed = scipy.fft.rfft2(first).conj() * scipy.fft.rfft2(second)
    ring, weight = _rings(first.shape, window)
    return np.asarray(np.bincount(ring, weight * crossed.real.ravel()) / (np.bincount(ring, weight) * first.size))


def share_of_rings(shape: tuple[int, ...], window: int) -> DoubleArray:
    """Share of all frequencies of a plane that lie in each ring."""
    ring, weight = _rings(shape, window)
    return np.asarray(np.bincount(ring, weight) / math.prod(shape))


def _rings(shape: tuple[int, ...], window: int) -> tuple[IndexArray, FloatArray]:
    """Ring, one step of the window wide, of each frequency of a real transform, flat; and how often each one counts."""
    distance = np.hypot(scipy.fft.fftfreq(shape[0])[:, None], scipy.fft.rfftfreq(shape[1])[None])
    weight = np.full(distance.shape, 2, np.float32)
    weight[:, 0] = 1
    if shape[1] % 2 == 0:
        weight[:, -1] = 1
    return np.asarray(np.rint(distance * window), dtype=np.int64).ravel(), weight.ravel()


class Evaluated:
    """The loss of some patterns, as a function of the phase that all slices and states share."""

    def __init__(self, backend: MultisliceBackend, layout: ParameterLayout, physical: Physical) -> None:
        self._backend, self._layout, self._physical = backend, layout, physical

    def turned(self, phase: FloatArray) -> FloatArray:
        """Planes of the object with a phase (Y, X) added to each slice, to first order."""
        real, imaginary = self._physical.object
        added = np.stack([-phase * imaginary, phase * real])
        cleaning = self._layout.cleaning
        return np.asarray(self._physical.object + (added if cleaning is None else cleaning.clean_object(added, np)))

    def by_phase(self, planes: FloatArray, chosen: IndexArray) -> FloatArray:
        """Gradient (Y, X) with respect to the phase, at planes of the object."""
        backend, physical, xp = self._backend, self._physical, self._backend.xp
        result = backend.loss_and_gradient(
            xp.asarray(planes),
            xp.asarray(physical.probe),
            chosen,
            probe_gradient=False,
            corrections=_moved(physical.corrections, xp),
        )
        gradient = backend.to_numpy(result.object)
        if self._layout.cleaning is not None:
            gradient = self._layout.cleaning.clean_object(gradient, np)
        real, imaginary = physical.object
        return np.asarray((real * gradient[1] - imaginary * gradient[0]).sum(axis=0))


def recounted(
    problem: MultisliceProblem, chosen: IndexArray, counts_per_electron: float, rng: np.random.Generator, times: int = 1
) -> MultisliceProblem:
    """Some patterns, followed by the same patterns recounted, once or several times."""
    repeated = problem.part(np.tile(chosen, 1 + times))
    patterns = np.asarray(repeated.patterns[: len(chosen)])
    mean = np.maximum(patterns, 0) / counts_per_electron
    recounts = counts_per_electron * rng.poisson(np.tile(mean, (times, 1, 1)))
    integer = patterns.dtype.kind in "ui" and counts_per_electron == 1 and recounts.max(initial=0) <= MOST_COUNTS
    dtype = np.uint16 if integer and patterns.max(initial=0) <= MOST_COUNTS else np.float32
    return replace(repeated, patterns=np.concatenate([patterns.astype(dtype), recounts.astype(dtype)]))


def physical_of(physical: Physical, chosen: IndexArray, count: int) -> Physical:
    """Physical quantities of a parameter vector, for some patterns."""
    given = physical.corrections
    tilts = given.tilts if given.tilts is None or len(given.tilts) != count else given.tilts[chosen]
    per_pattern = ("shifts_px", "current", "opr_coefficients", "stretch")
    chosen_values = {name: None if (at := getattr(given, name)) is None else at[chosen] for name in per_pattern}
    return physical._replace(corrections=replace(given, tilts=tilts, **chosen_values))


def _moved(corrections: Any, xp: Any) -> Any:
    """Convert corrections to another array module."""
    return replace(corrections, **{name: xp.asarray(at) for name, at in vars(corrections).items() if at is not None})
