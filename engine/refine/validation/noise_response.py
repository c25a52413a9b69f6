"""What noise of the patterns does to the phase of an object, frequency by frequency, measured on some patterns.

Curvature: how the gradient by the phase changes when white noise is added to the phase of all slices, by central
differences. Noise: how it changes when the patterns are counted once more, each pixel from a Poisson distribution
around its counts, which has their variance. Both are taken around rings of frequencies and divided by the light that
fell, so that a few patterns from all over the scan tell of all of it.
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
"""Of the patterns that are looked at: four evaluations of a sixteenth cost a quarter of an epoch at most."""
MOST_BYTES = 2**28
"""Of the patterns that are looked at, counted anew beside them."""
TRIAL_RAD = 0.02
"""Phase by which curvature is measured: large against rounding in single precision, small against a radian."""
LIT = 0.01
"""Share of the largest light above which a pixel is lit."""
LIT_WINDOWS, MOST_TRIALS = 16, 8
"""Windows' worth of lit pixels that white noise is added to, and most trials."""
MOST_COUNTS = 65535
BYTES_A_PIXEL = 48
"""Of each slice: two gradients and what they are made of."""


@dataclass(frozen=True, eq=False)
class NoiseResponse:
    """By rings of frequencies, along the phase that all slices have in common, for one unit of light."""

    curvature: DoubleArray
    """(rings,) of the data term."""
    noise: DoubleArray
    """(rings,) power of the gradient's counting noise."""
    pixels: DoubleArray
    """(rings,) share of all frequencies."""
    patterns: int
    """That it was measured on."""


def sampled(problem: Problem, seed: int) -> IndexArray:
    """Numbers of the patterns that are looked at, from all over the scan."""
    count, each = problem.multislice.count, 8.0 * float(np.prod(problem.multislice.patterns.shape[1:]))
    most = min(MOST, max(FEWEST, int(count * SHARE)), max(1, int(MOST_BYTES / each)), count)
    return np.sort(np.random.default_rng([seed, 1]).permutation(count)[:most])


def measured_response(
    problem: Problem, vector: Array, context: TrialContext, seed: int, counts_per_electron: float
) -> NoiseResponse:
    """Around the parameters of a result (n,), a numpy vector. Raises RefinementError where a backend cannot be had."""
    rng, chosen = np.random.default_rng([seed, 2]), sampled(problem, seed)
    few, layout, count = (
        counted_again(problem.multislice, chosen, counts_per_electron, rng),
        problem.layout,
        len(chosen),
    )
    physical = of_some(layout.physical(vector, np), np.tile(chosen, 2), problem.multislice.count)
    with closing(open_backend(context.backend, few, context.threads)) as backend:
        there = Evaluated(backend, layout, physical)
        first, second = np.arange(count), np.arange(count, 2 * count)
        noise = there.by_phase(physical.object, second) - there.by_phase(physical.object, first)
        light = backend.to_numpy(backend.illumination(backend.xp.asarray(physical.probe), first))
        length, window = TRIAL_RAD / layout.object_shape[0], layout.window
        slopes = []
        for number in range(_trials(light, window)):
            white = white_noise(noise.shape, np.random.default_rng([seed, 4, number]))
            ahead, behind = (there.by_phase(there.turned(side * length * white), first) for side in (1, -1))
            slopes.append(by_rings(white, (ahead - behind) / (2 * length), window))
    return NoiseResponse(
        curvature=np.mean(slopes, axis=0) / float(light.mean()),
        noise=by_rings(noise, noise, window) / float(light.mean()),
        pixels=share_of_rings(noise.shape, window),
        patterns=count,
    )


def _trials(light: FloatArray, window: int) -> int:
    """How often white noise is added: the fewer pixels are lit, the fewer frequencies each ring has to average over.

    What is divided by must be known well: the square of its inverse is larger on average than that of the average.
    """
    lit = float((light > LIT * light.max()).sum())
    return max(1, min(MOST_TRIALS, math.ceil(LIT_WINDOWS * window**2 / max(lit, 1.0))))


def white_noise(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """(Y, X) of ones of either sign."""
    return np.asarray(rng.choice(np.array([-1, 1], dtype=np.float32), size=shape))


def by_rings(first: FloatArray, second: FloatArray, window: int) -> DoubleArray:
    """Mean of the cross-spectrum of two planes (Y, X) over each ring, a pixel."""
    crossed = scipy.fft.rfft2(first).conj() * scipy.fft.rfft2(second)
    ring, weight = _rings(first.shape, window)
    return np.asarray(np.bincount(ring, weight * crossed.real.ravel()) / (np.bincount(ring, weight) * first.size))


def share_of_rings(shape: tuple[int, ...], window: int) -> DoubleArray:
    """Share of all frequencies of a plane that lie in each ring."""
    ring, weight = _rings(shape, window)
    return np.asarray(np.bincount(ring, weight) / math.prod(shape))


def _rings(shape: tuple[int, ...], window: int) -> tuple[IndexArray, FloatArray]:
    """Ring of each frequency of a real transform, flat, one step of the window wide; how often each is there."""
    distance = np.hypot(scipy.fft.fftfreq(shape[0])[:, None], scipy.fft.rfftfreq(shape[1])[None])
    weight = np.full(distance.shape, 2, np.float32)
    weight[:, 0] = 1
    if shape[1] % 2 == 0:
        weight[:, -1] = 1
    return np.asarray(np.rint(distance * window), dtype=np.int64).ravel(), weight.ravel()


class Evaluated:
    """The loss of some patterns, by the phase that all slices and states have in common."""

    def __init__(self, backend: MultisliceBackend, layout: ParameterLayout, physical: Physical) -> None:
        self._backend, self._layout, self._physical = backend, layout, physical

    def turned(self, phase: FloatArray) -> FloatArray:
        """Planes of the object with a phase (Y, X) added to each slice, to first order."""
        real, imaginary = self._physical.object
        added = np.stack([-phase * imaginary, phase * real])
        cleaning = self._layout.cleaning
        return np.asarray(self._physical.object + (added if cleaning is None else cleaning.clean_object(added, np)))

    def by_phase(self, planes: FloatArray, chosen: IndexArray) -> FloatArray:
        """Gradient (Y, X) at planes of the object."""
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


def counted_again(
    problem: MultisliceProblem, chosen: IndexArray, counts_per_electron: float, rng: np.random.Generator, times: int = 1
) -> MultisliceProblem:
    """Some patterns, and behind them the same counted anew, once or several times."""
    both = problem.part(np.tile(chosen, 1 + times))
    patterns = np.asarray(both.patterns[: len(chosen)])
    mean = np.maximum(patterns, 0) / counts_per_electron
    again = counts_per_electron * rng.poisson(np.tile(mean, (times, 1, 1)))
    whole = patterns.dtype.kind in "ui" and counts_per_electron == 1 and again.max(initial=0) <= MOST_COUNTS
    kept = np.uint16 if whole and patterns.max(initial=0) <= MOST_COUNTS else np.float32
    return replace(both, patterns=np.concatenate([patterns.astype(kept), again.astype(kept)]))


def of_some(physical: Physical, chosen: IndexArray, count: int) -> Physical:
    """What a parameter vector stands for, of some patterns."""
    given = physical.corrections
    tilts = given.tilts if given.tilts is None or len(given.tilts) != count else given.tilts[chosen]
    each = ("shifts_px", "current", "opr_coefficients", "stretch")
    own = {name: None if (at := getattr(given, name)) is None else at[chosen] for name in each}
    return physical._replace(corrections=replace(given, tilts=tilts, **own))


def _moved(corrections: Any, xp: Any) -> Any:
    """Corrections in another array module."""
    return replace(corrections, **{name: xp.asarray(at) for name, at in vars(corrections).items() if at is not None})
