"""Scatter of the phase of a refined object due to counting noise, from a single result (docs/theory/refinement.md).

Around a result the loss is a parabola, whose curvature H is that of a convolution weighted by the light L(r): its
eigenvalues are L lambda(q). Counting noise moves the gradient by L^(1/2) times noise of power mu(q), so that

    var(r) = mean over q of mu(q) L(r) R(q, r)^2,   R = 1 / (L lambda) where the solver came to rest

A complex object O scatters as a complex number does, so that its phase scatters by 1 / |O|: the light is then L |O|^2.
Frequencies that the solver had no time for do not scatter, and the anchor of L-BFGS holds some of them back
(:func:`_reached`). lambda and mu are measured (``noise_response``); regularisers add their own curvature to lambda. If
the phase is held at or above 0, noise below 0 is cut off: with the phase m that would result without the bound, and the
deviation s there, the variance of max(0, m + s n) remains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
import scipy.special
from scipy.ndimage import gaussian_filter

from ptylive.engine.backend.device import on_host
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.memory import check_fits
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.parameters.terms import Term
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.phase_deviation import AT_BOUND_RAD, PhaseDeviation
from ptylive.engine.refine.solvers.sweeps import FULL_SWEEPS, LATER_STEPS
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.start.goodness_of_fit import counts_per_electron
from ptylive.engine.refine.validation.block_response import RingVariance, unevenness
from ptylive.engine.refine.validation.noise_response import (
    BYTES_A_PIXEL,
    TRIAL_RAD,
    NoiseResponse,
    by_rings,
    measured_response,
    white_noise,
)
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray

LIT = 0.01
"""Share of the largest light below which the deviation is not given."""
LEAST_POWER = 0.01
"""Least power of a transmission: below it the phase is meaningless."""
NEIGHBOURS_PX = 3.0
"""Width of the Gaussian over which neighbouring pixels hold each other."""
FARTHEST = 30.0
"""Distance from the bound, in deviations, beyond which it no longer matters."""
MAP_FLOOR = 0.0225
"""A live map inverts the same transfer, down to about this share of the curvature by which steps are scaled."""
FEW_ELECTRONS = 200.0
"""Electrons per object pixel below which the predicted deviation was up to a quarter below the scatter of repeats."""
LEVELS = 64
"""Number of light values at which the sum over frequencies is evaluated; values in between are interpolated."""


@dataclass(frozen=True, eq=False)
class EndOfRun:
    """State at the end of a run, as numpy arrays except for the terms of the loss."""

    vector: Array
    """(n,) parameters."""
    gradient: Array | None
    """(n,) gradient of the loss over all patterns, terms included; None after sweeps alone, which do not compute it."""
    light: FloatArray
    """(Y, X) illumination of all patterns."""
    batch_light: float
    """Largest illumination of one batch of the sweeps."""
    sweeps: int
    lbfgs_epochs: int
    terms: tuple[Term, ...]
    xp: Any
    """Array module of the terms."""

    @classmethod
    def of(
        cls,
        problem: Problem,
        backend: MultisliceBackend,
        final: tuple[Any, Any],
        phases: Sequence[str],
        terms: tuple[Term, ...],
    ) -> EndOfRun:
        """``final``: parameters and gradient (or None) on the backend's device; ``phases``: phase of each epoch."""
        vector, gradient = final
        probe, count = problem.layout.probe_planes(vector, backend.xp), problem.multislice.count
        batch = np.sort(np.random.default_rng(0).permutation(count)[: problem.strategy.batch_size])
        sweeps = list(phases).count("sweep")
        return cls(
            vector=backend.to_numpy(vector),
            gradient=None if gradient is None else backend.to_numpy(gradient),
            light=np.asarray(backend.to_numpy(backend.illumination(probe)), dtype=np.float64),
            batch_light=float(backend.illumination(probe, batch).max()),
            sweeps=sweeps,
            lbfgs_epochs=len(phases) - sweeps,
            terms=terms,
            xp=backend.xp,
        )


def phase_deviation(problem: Problem, end: EndOfRun, context: TrialContext, seed: int) -> PhaseDeviation | None:
    """Deviation map of a result; None for coefficients and images, whose noise differs.

    Raises MetadataError if memory does not suffice.
    """
    if problem.measured.coefficients is not None or problem.measured.near_field or not end.light.max() > 0:
        return None
    check_fits(
        float(BYTES_A_PIXEL * problem.layout.planes * end.light.size),
        "the standard deviation of the phase",
        "set phase_deviation=false",
    )
    gain = counts_per_electron(problem) or 1.0
    response = measured_response(problem, end.vector, context, seed, gain)
    response = replace(response, curvature=response.curvature + _of_terms(problem, end, seed) / float(end.light.mean()))
    lit = end.light > LIT * end.light.max()
    few = _median(problem, end.light / gain) < FEW_ELECTRONS
    passed = end.light * _power(problem, end.vector)
    share = float(passed.mean() / end.light.mean())
    response = replace(response, curvature=response.curvature / share, noise=response.noise / share)
    end = replace(end, light=passed)
    variance = _variance(problem, end, response)
    bound = _Bound.of(problem, end, response, variance) if problem.layout.non_negative else None
    if bound is None:
        rings = RingVariance(variance, np.ones_like(variance), np.zeros(variance.shape, bool), end.light)
    else:
        rings = RingVariance(bound.variance, bound.free, bound.held, end.light)
    factor = unevenness(problem, end.vector, context, seed, gain, rings)
    variance = rings.variance if factor is None else factor * rings.variance
    if bound is not None:
        variance = bound.above_zero(variance)
    deviation = np.where(lit, np.sqrt(variance), np.nan).astype(np.float32)
    beyond = problem.layout.object_shape[0] > 1 or problem.layout.object_form is not ObjectForm.PHASE
    return PhaseDeviation(deviation, _median(problem, deviation), response.patterns, lower_bound=beyond or few)


def _power(problem: Problem, vector: Array) -> FloatArray:
    """(Y, X) power of the transmission: the harmonic mean over its planes, as their variances add; 1 for phases."""
    layout = problem.layout
    if layout.object_form is not ObjectForm.COMPLEX:
        return np.ones(layout.object_shape[1:], np.float32)
    planes = layout.object_block(vector).reshape(2, layout.planes, *layout.object_shape[1:])
    power = np.maximum((planes**2).sum(axis=0), LEAST_POWER)
    return np.asarray(1 / (1 / power).mean(axis=0), dtype=np.float32)


def _variance(problem: Problem, end: EndOfRun, response: NoiseResponse) -> DoubleArray:
    """(Y, X) variance of the summed phase, without any bound."""
    slices, brightest = problem.layout.object_shape[0], float(end.light.max())
    curvature, planes = np.maximum(response.curvature, 0), problem.layout.planes
    levels = np.geomspace(LIT * LEAST_POWER * brightest, brightest, LEVELS)
    at_levels = []
    for light in levels:
        # the phase of all planes moves as each of them does
        reached = _reached(problem, end, light * curvature / planes, light) / planes
        # the constant phase, ring 0, cannot be determined
        at_levels.append(float((response.pixels * response.noise * light * reached**2)[1:].sum()))
    light = np.log(np.maximum(end.light, levels[0]))
    return np.asarray(slices**2 * np.exp(np.interp(light, np.log(levels), np.log(np.maximum(at_levels, 1e-300)))))


def _reached(problem: Problem, end: EndOfRun, steepness: DoubleArray, light: float) -> DoubleArray:
    """How far a force moves a plane of the object, by ring; the inverse curvature where the solver came to rest.

    A sweep takes one step per batch. L-BFGS progresses as the square of its epochs (Krylov) and is pulled back to the
    result of the sweeps by the anchor. Both correspond to gradient flow for a time in units of 1 / curvature.
    """
    strategy, brightest = problem.strategy, float(end.light.max())
    unit = problem.layout.object_modes / (2 * strategy.curvature_scale)
    steps = sum(LATER_STEPS ** max(0, sweep + 1 - FULL_SWEEPS) for sweep in range(end.sweeps))
    swept = _flow(steepness, unit * strategy.sweep_step * steps / max(end.batch_light, 1e-300))
    if strategy.start_from_map:
        # a live map has passed a Wiener filter with the same transfer
        floor = light * MAP_FLOOR / unit
        swept = swept + (1 - steepness * swept) * steepness / (steepness**2 + floor**2)
    pull = strategy.anchor * light / unit if end.sweeps else 0.0
    pulled = np.maximum(steepness + pull, 1e-300)
    towards = (1 + pull * swept) / pulled
    progress = -np.expm1(-pulled * unit * end.lbfgs_epochs**2 / max(brightest, 1e-300))
    return np.asarray(swept + progress * (towards - swept))


def _flow(steepness: DoubleArray, time: float) -> DoubleArray:
    """How far gradient flow goes in a time: (1 - exp(-t c)) / c, and t where the curvature c is 0."""
    return np.where(steepness * time > 1e-6, -np.expm1(-steepness * time) / np.maximum(steepness, 1e-300), time)


def _of_terms(problem: Problem, end: EndOfRun, seed: int) -> DoubleArray:
    """(rings,) curvature of the terms of the loss along the phase of all slices."""
    white = white_noise(end.light.shape, np.random.default_rng([seed, 3]))
    length, layout, xp = TRIAL_RAD / problem.layout.object_shape[0], problem.layout, end.xp
    sides = []
    for side in (length, -length):
        gradient = xp.zeros(layout.size, np.float32)
        turned = xp.asarray(_turned(problem, end.vector, side * white))
        for term in end.terms:
            term.add(layout, turned, gradient, xp)
        sides.append(_by_phase(problem, end.vector, on_host(gradient)).sum(axis=0))
    return by_rings(white, (sides[0] - sides[1]) / (2 * length), layout.window)


def _turned(problem: Problem, vector: Array, phase: FloatArray) -> Array:
    """Parameters with a phase (Y, X) added to each slice, to first order."""
    layout, turned = problem.layout, vector.astype(np.float32)
    planes = layout.object_block(turned).reshape(-1, layout.planes, *layout.object_shape[1:])
    if layout.object_form is ObjectForm.COMPLEX:
        planes += np.stack([-phase * planes[1], phase * planes[0]])
    else:
        planes[0] += phase
    return turned


def _by_phase(problem: Problem, vector: Array, gradient: Array) -> FloatArray:
    """Gradient (planes, Y, X) with respect to the phase of each slice, from that with respect to the parameters."""
    layout = problem.layout
    shape = (-1, layout.planes, *layout.object_shape[1:])
    planes, by = layout.object_block(vector).reshape(shape), layout.object_block(gradient).reshape(shape)
    if layout.object_form is ObjectForm.COMPLEX:
        return np.asarray(planes[0] * by[1] - planes[1] * by[0])
    return np.asarray(by[0])


@dataclass(frozen=True, eq=False)
class _Bound:
    """Deviation of an object whose phase is held at or above 0."""

    unbounded: Array
    """(planes, Y, X) phase that each plane would have without the bound."""
    variance: DoubleArray
    """(Y, X) variance of the summed phase, among neighbours that cannot move."""
    free: DoubleArray
    """(Y, X) probability that a pixel is above the bound."""
    held: BoolArray
    """(Y, X) pixels that lie at the bound in all planes."""

    @classmethod
    def of(cls, problem: Problem, end: EndOfRun, response: NoiseResponse, variance: DoubleArray) -> _Bound:
        """``variance``: (Y, X) variance of the summed phase without a bound."""
        layout = problem.layout
        phases = layout.object_block(end.vector).reshape(-1, layout.planes, *layout.object_shape[1:])[0]
        mean = float((response.pixels * np.maximum(response.curvature, 0)).sum())
        force = 0.0 if end.gradient is None else _by_phase(problem, end.vector, end.gradient)
        unbounded = phases - force * layout.planes / np.maximum(mean * end.light, 1e-300)
        free = gaussian_filter(scipy.special.ndtr(_in_deviations(unbounded, variance)).mean(axis=0), NEIGHBOURS_PX)
        # a pixel among neighbours that cannot move scatters by its own curvature alone, if it has any
        noise = layout.object_shape[0] ** 2 * float((response.pixels * response.noise).sum())
        alone = noise / mean / mean if mean > 0 else math.inf
        among = free * variance + (1 - free) * np.minimum(variance, alone / np.maximum(end.light, 1e-300))
        chance = scipy.special.ndtr(_in_deviations(unbounded, among)).mean(axis=0)
        return cls(unbounded, among, chance, np.asarray((phases <= AT_BOUND_RAD).all(axis=0)))

    def above_zero(self, variance: DoubleArray) -> DoubleArray:
        """(Y, X) variance of the summed phase, with that of each slice held at or above 0."""
        return np.asarray(variance * _variance_above_zero(_in_deviations(self.unbounded, variance)).mean(axis=0))


def _in_deviations(phases: Array, variance: Array) -> DoubleArray:
    """Phases (planes, Y, X) in units of the deviation of each plane; variance (Y, X) of their sum over slices."""
    return np.asarray(phases * math.sqrt(len(phases)) / np.sqrt(np.maximum(variance, 1e-300)))


def _variance_above_zero(means: Array) -> DoubleArray:
    """Variance of max(0, m + n), n normal with deviation 1."""
    means = np.clip(means, -FARTHEST, FARTHEST)
    density = np.exp(-0.5 * means**2) / math.sqrt(2 * math.pi)
    above = scipy.special.ndtr(means)
    mean = means * above + density
    return np.asarray(np.maximum((means**2 + 1) * above + means * density - mean**2, 0))


def _median(problem: Problem, deviation: FloatArray) -> float:
    """Median between the outermost positions."""
    at = (problem.positions_A - problem.grid.origin_A) / problem.grid.pixel_A
    low, high = np.floor(at.min(axis=0)).astype(int), np.ceil(at.max(axis=0)).astype(int) + 1
    area = deviation[max(low[0], 0) : high[0], max(low[1], 0) : high[1]]
    return float(np.nanmedian(area)) if np.isfinite(area).any() else math.nan
