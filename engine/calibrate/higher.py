"""Coma, three-fold astigmatism, spherical, star and fourfold aberrations, if a scan carries them.

Defocus, astigmatism and rotation are known by then. Each higher aberration is first tried alone: three values of J2
give a parabola and the share of energy that it could add. If that is nothing the fit stays as it is, at the cost of
nineteen evaluations. Otherwise all parameters are fitted together (Levenberg-Marquardt steps on J2), and kept if they
explain clearly more than the low ones, at most frequencies, and are significantly different from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ptylive.engine.calibrate.aberrations import BEYOND_DOUBT, LOW, AberrationFit, least_gain
from ptylive.engine.calibrate.criteria import REGULARISATION, Criteria, lead
from ptylive.engine.imaging.imaging_conditions import Part
from ptylive.schema.advice.limits import quarter_pi_limit_A
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray

HIGHER = ("C21a", "C21b", "C23a", "C23b", "C30", "C32a", "C32b", "C34a", "C34b")
LEAST_FREQUENCIES = 60
"""Number of frequencies below which thirteen parameters cannot be separated."""
TRIAL_PHASE = 0.5
"""Phase at the disc's rim due to a trial value, rad."""
DIFFERENCE = 0.04
"""Half the interval of a numerical derivative, in trial values: 0.02 rad at the rim."""
BALANCED_BY = {"C30": 0, "C32a": 1, "C32b": 2}
"""Low aberration of the same symmetry, which compensates most of a higher one."""
PROMISING = 0.25
"""Share of the required gain that the parabolas must promise together. They see less than the fit gains if a low
aberration has replaced a higher one (0.0036 of 0.011 with star aberration alone); clean scans: 0.0007."""
MOST_STEPS, ENOUGH = 30, 1e-8
"""Limit on steps of the fit; and the share of J2 that a further step must promise."""
SHARED_ERROR = math.sqrt(2.0)
"""Factor from the scatter of frequencies, and from the effect of an absorption, to the true error: about half of the
frequencies of a padded, tapered scan are independent, and the second order of a phase is not absorption alone."""
LEAST_SIGNIFICANCE = 25.0
"""Wald's statistic, shared error included, of the higher aberrations together: chance exceeds it in 0.3 % of the fits
that also explain more (nine of them)."""


class _Derivatives(NamedTuple):
    """Derivatives of J2 with respect to the free parameters at a point: gradient and curvature of each frequency."""

    each: DoubleArray
    """(parameters, nq) gradients."""
    curvatures: DoubleArray
    """(nq, parameters, parameters) curvatures."""

    @property
    def total(self) -> DoubleArray:
        """Gradient (parameters,) of the sum."""
        return np.asarray(self.each.sum(axis=1))

    @property
    def curvature(self) -> DoubleArray:
        """Curvature (parameters, parameters) of the sum."""
        return np.asarray(self.curvatures.sum(axis=0))

    def jackknife(self) -> DoubleArray:
        """Return the jackknife covariance (n, n) of a maximum: without a frequency, it moves by one Newton step."""
        count = self.each.shape[1]
        deviation = np.linalg.pinv(self.curvature - self.curvatures, hermitian=True) @ self.each.T[:, :, None]
        deviation = deviation[:, :, 0] - deviation[:, :, 0].mean(axis=0)
        return np.asarray((count - 1) / count * deviation.T @ deviation)

    def part(self, parameters: list[int]) -> _Derivatives:
        """Return the derivatives with respect to some parameters only."""
        return _Derivatives(
            self.each[parameters], self.curvatures[np.ix_(range(len(self.curvatures)), parameters, parameters)]
        )

    def shift(self, first: int, others: list[int]) -> DoubleArray:
        """Return the change (first,) of a Newton step of the ``first`` parameters when others are free as well."""
        alone, both = self.part(list(range(first))), self.part([*range(first), *others])
        return np.asarray(both.step()[:first] - alone.step())

    def step(self) -> DoubleArray:
        """Return the Newton step (parameters,) to the maximum."""
        return np.asarray(np.linalg.pinv(self.curvature, hermitian=True) @ self.total)

    def covariance(self, fitted: int) -> DoubleArray:
        """Return the covariance (fitted, fitted) of the first parameters. The last of the others is absorption.

        It includes the disagreement between frequencies, due to noise or model, and errors common to all of them, as
        shown by a fitted absorption and by the aberrations left out.
        """
        absorbed = self.shift(fitted, [len(self.each) - 1])
        neglected = self.shift(fitted, list(range(fitted, len(self.each) - 1)))
        scatter = self.part(list(range(fitted))).jackknife()
        return np.asarray(SHARED_ERROR**2 * (scatter + np.outer(absorbed, absorbed) + np.outer(neglected, neglected)))


@dataclass(frozen=True)
class _Problem:
    """J2 of all parameters, each in units of half a radian at the disc's rim: (C10, C12a, C12b, rotation, *names).

    x: (4 + names,) in these units.
    """

    criteria: Criteria
    names: tuple[str, ...]

    @property
    def units(self) -> DoubleArray:
        """Size of one unit of each parameter in Å (rad for the rotation)."""
        criteria = self.criteria

        def unit(name: str) -> float:
            limit = quarter_pi_limit_A(name[:3], criteria.wavelength_A, 1e3 * criteria.semiangle_rad)
            return limit * TRIAL_PHASE / (math.pi / 4)

        return np.array([*(unit(name) for name in LOW), math.radians(1.0), *(unit(name) for name in self.names)])

    def at(self, x: DoubleArray) -> tuple[Criteria, DoubleArray]:
        """Return criteria with the higher aberrations, and the low parameters in the form they use."""
        values = x * self.units
        higher = dict(zip(self.names, values[4:].tolist(), strict=True))
        return self.criteria.with_fixed({**self.criteria.fixed, **higher}), values[:4]

    def energy(self, x: DoubleArray) -> float:
        """Return J2."""
        criteria, low = self.at(x)
        return criteria.explained_energy(low)

    def transfer(self, x: DoubleArray, q: DoubleArray) -> ComplexArray:
        """Return the transfer (N, nq) at frequencies (nq, 2)."""
        criteria, low = self.at(x)
        return criteria.transfer(low, q)

    def direction(self, name: str) -> DoubleArray:
        """Return a step along one aberration, with the low aberration that compensates it, if there is one."""
        step = np.zeros(4 + len(self.names))
        number = 4 + self.names.index(name)
        step[number] = 1.0
        if (low := BALANCED_BY.get(name)) is not None:
            step[low] = -0.5 * self.units[number] * self.criteria.semiangle_rad**2 / self.units[low]
        return step

    def gain_along(self, x: DoubleArray, name: str) -> float:
        """Return the possible gain in J2 along a direction, by the parabola through three values."""
        step = self.direction(name)
        center, before, after = self.energy(x), self.energy(x - step), self.energy(x + step)
        curvature = center - 0.5 * (before + after)
        return max(before, after) - center if curvature <= 0 else (after - before) ** 2 / (16 * curvature)

    def derivatives(self, x: DoubleArray, free: BoolArray, *, absorption: bool = False) -> _Derivatives:
        """Return derivatives by variable projection (Kaufman, BIT 15 (1975) 49): the phase of each frequency follows.

        With t the transfer, W the weights by noise and phi the phase that explains most of a spectrum s, the derivative
        of J2 is 2 Re phi* dt^H W (s - t phi), and its curvature -2 |phi|^2 dt^H W dt without the component along t.
        """
        criteria, low = self.at(x)
        q = criteria.seen_as(low)
        transfer, spectra = criteria.transfer(low, q), criteria.modulation.spectra[:, : len(q)]
        per_noise = criteria.per_noise
        weighted = per_noise(transfer)
        information = np.einsum("nq,nq->q", weighted.conj(), transfer).real + REGULARISATION
        phase = np.einsum("nq,nq->q", weighted.conj(), spectra) / information
        residual = per_noise(spectra - transfer * phase)
        columns = []
        for k in np.flatnonzero(free):
            offset = np.zeros(len(x))
            offset[k] = DIFFERENCE
            above, below = (self.transfer(x + sign * offset, q) for sign in (1, -1))
            columns.append((above - below) / (2 * DIFFERENCE) * phase)
        if absorption:
            columns.append(criteria.transfer(low, q, Part.AMPLITUDE) * phase)
        changes = np.array(columns)
        each = 2 * np.einsum("knq,nq->kq", changes.conj(), residual).real
        along = np.einsum("nq,knq->qk", weighted.conj(), changes)
        noisy = np.array([per_noise(change) for change in changes])
        across = np.transpose(changes.conj(), (2, 0, 1)) @ np.transpose(noisy, (2, 1, 0))
        across -= along.conj()[:, :, None] * along[:, None, :] / information[:, None, None]
        return _Derivatives(each, 2 * across.real)

    def climbed(self, x: DoubleArray, free: BoolArray) -> DoubleArray:
        """Return the maximum of J2 reached by Levenberg-Marquardt steps from a start."""
        energy, damping = self.energy(x), 1e-2
        for _ in range(MOST_STEPS):
            derivatives = self.derivatives(x, free)
            scale = np.diag(np.maximum(np.diag(derivatives.curvature), 1e-12 * derivatives.curvature.max()))
            while damping < 1e4:
                step = np.linalg.solve(derivatives.curvature + damping * scale, derivatives.total)
                expected_gain = step @ derivatives.total - 0.5 * step @ derivatives.curvature @ step
                if expected_gain < ENOUGH * energy:
                    return x
                trial = x.copy()
                trial[free] += step
                trial_energy = self.energy(trial)
                if trial_energy > energy:
                    x, energy, damping = trial, trial_energy, damping / 5
                    break
                damping *= 5
            else:
                return x
        return x


def fit_higher(criteria: Criteria, fit: AberrationFit, given: Mapping[str, float]) -> AberrationFit:
    """Add the higher aberrations not ``given`` to a fit, if they add something; also set its uncertainties.

    The fit is returned unchanged if there are few frequencies or it found no defocus.
    """
    names = tuple(name for name in HIGHER if name not in given)
    problem = _Problem(criteria, names)
    if not names or len(criteria.modulation.q_scan) < LEAST_FREQUENCIES:
        return fit
    start = np.concatenate([fit.low, np.zeros(len(names))]) / problem.units
    free = np.array([name not in given for name in LOW] + [fit.rotation_uncertainty_deg > 0] + [True] * len(names))
    return _with_higher(problem, fit, start, free) or _with_deviations(problem, fit, start, free)


def _with_higher(problem: _Problem, fit: AberrationFit, start: DoubleArray, free: BoolArray) -> AberrationFit | None:
    """Return a fit with the higher aberrations added, or None if they add nothing."""
    criteria, names = problem.criteria, problem.names
    start_energy, least = problem.energy(start), least_gain(criteria)
    if sum(problem.gain_along(start, name) for name in names) < PROMISING * least * start_energy:
        return None
    solution = problem.climbed(start, free)
    if problem.energy(solution) < (1 + least) * start_energy:
        return None
    extended, low = problem.at(solution)
    if lead(extended.unexplained(low), criteria.unexplained(fit.low)) < BEYOND_DOUBT:
        return None  # at a few bright frequencies they mimic what a weak phase object leaves out
    covariance = problem.derivatives(solution, free, absorption=True).covariance(int(free.sum()))
    added = slice(-len(names), None)
    try:
        significance = solution[added] @ np.linalg.solve(covariance[added, added], solution[added])
    except np.linalg.LinAlgError:  # some of them have no effect on the data
        return None
    if not significance >= LEAST_SIGNIFICANCE:
        return None
    values = solution * problem.units
    deviation = np.zeros(len(values))
    deviation[free] = np.sqrt(np.diag(covariance)) * problem.units[free]
    all_names = (*LOW, "", *names)
    return replace(
        fit,
        aberrations={name: float(value) for name, value in zip(all_names, values, strict=True) if name},
        rotation_deg=math.degrees(float(values[3])),
        rotation_uncertainty_deg=math.degrees(float(deviation[3])),
        uncertainties_A={name: float(value) for name, value in zip(all_names, deviation, strict=True) if name},
    )


def _with_deviations(problem: _Problem, fit: AberrationFit, start: DoubleArray, free: BoolArray) -> AberrationFit:
    """Return a fit without higher aberrations, with the uncertainty due to them; doubtful values stay doubtful."""
    if not fit.low[:3].any():
        return fit
    astigmatism_A = math.hypot(*fit.low[1:3])
    free = free & np.array([True, *[astigmatism_A > 0] * 2, *[True] * (len(free) - 3)])
    fitted = free.copy()
    fitted[4:] = False
    covariance = problem.derivatives(start, free, absorption=True).covariance(int(fitted.sum()))
    deviation = np.zeros(len(start))
    deviation[fitted] = np.sqrt(np.diag(covariance))
    deviation *= problem.units
    stated = {name: fit.uncertainties_A.get(name, fit.uncertainty_A) for name in LOW[1:]}
    for k, name in enumerate(LOW[1:], start=1):
        if fitted[k] and stated[name] < astigmatism_A:
            stated[name] = float(deviation[k])
    return replace(
        fit,
        uncertainty_A=float(deviation[0]) if fitted[0] else fit.uncertainty_A,
        rotation_uncertainty_deg=math.degrees(float(deviation[3])),
        uncertainties_A=stated,
    )
