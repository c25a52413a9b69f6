"""Coma, three-fold astigmatism and spherical aberration, where a scan carries them.

Defocus, astigmatism and rotation are known by then. Each higher aberration is first only tried: three values of J2 give
a parabola and the share of energy it could add. Where that is nothing the fit stays as it is, which costs eleven
evaluations; else all parameters are fitted together, and kept if they explain clearly more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.calibrate.aberrations import AberrationFit, least_gain
from ptylive.engine.calibrate.criteria import Criteria
from ptylive.schema.model import DoubleArray
from ptylive.schema.optics import KRIVANEK_ORDERS

HIGHER = ("C21a", "C21b", "C23a", "C23b", "C30")
LEAST_FREQUENCIES = 60
"""Fewer of them do not tell nine parameters apart."""
TRIAL_PHASE = 0.5
"""Phase at the disc's rim that a trial value makes, rad."""
LOW = ("C10", "C12a", "C12b")


@dataclass(frozen=True)
class _Problem:
    """J2 of all parameters, each in units of half a radian at the disc's rim: (C10, C12a, C12b, rotation, *names)."""

    criteria: Criteria
    names: tuple[str, ...]

    @property
    def units(self) -> DoubleArray:
        """Å (rad for the rotation) of one unit of each parameter."""
        angle, wavelength = self.criteria.semiangle_rad, self.criteria.wavelength_A

        def unit(name: str) -> float:
            order = KRIVANEK_ORDERS[name[:3]][0] + 1
            return TRIAL_PHASE * order * wavelength / (2 * math.pi * angle**order)

        return np.array([*(unit(name) for name in LOW), math.radians(1.0), *(unit(name) for name in self.names)])

    def energy(self, x: DoubleArray) -> float:
        """J2."""
        values = x * self.units
        higher = dict(zip(self.names, values[4:].tolist(), strict=True))
        criteria = self.criteria.with_fixed({**self.criteria.fixed, **higher})
        return criteria.explained_energy(values[:4])

    def direction(self, name: str) -> DoubleArray:
        """A step along one aberration; spherical aberration with the defocus that balances it."""
        step = np.zeros(4 + len(self.names))
        step[4 + self.names.index(name)] = 1.0
        if name == "C30":
            step[0] = -0.5 * step[-1] * self.units[-1] * self.criteria.semiangle_rad**2 / self.units[0]
        return step

    def parabola(self, x: DoubleArray, name: str) -> tuple[float, float]:
        """What J2 could gain along a direction, and how sharp it is (drop for one unit)."""
        step = self.direction(name)
        here, before, after = self.energy(x), self.energy(x - step), self.energy(x + step)
        curvature = here - 0.5 * (before + after)
        if curvature <= 0:
            return max(before, after) - here, 0.0
        return (after - before) ** 2 / (16 * curvature), curvature


def fit_higher(criteria: Criteria, fit: AberrationFit, given: Mapping[str, float]) -> AberrationFit:
    """A fit with the higher aberrations added that are not ``given``; the same fit where they add nothing."""
    names = tuple(name for name in HIGHER if name not in given)
    problem = _Problem(criteria, names)
    if not names or len(criteria.modulation.q_scan) < LEAST_FREQUENCIES:
        return fit
    low = np.array([*(fit.aberrations.get(name, 0.0) for name in LOW), math.radians(fit.rotation_deg)])
    start = np.concatenate([low, np.zeros(len(names))]) / problem.units
    before, least = problem.energy(start), least_gain(criteria)
    if sum(problem.parabola(start, name)[0] for name in names) < least * before:
        return fit
    from scipy import optimize

    free = np.array([name not in given for name in LOW] + [fit.rotation_uncertainty_deg > 0] + [True] * len(names))

    def cost(x: DoubleArray) -> float:
        whole = start.copy()
        whole[free] = x
        return -problem.energy(whole) / before

    options: Any = {"maxiter": 25, "gtol": 1e-5, "eps": 0.02}
    found = start.copy()
    found[free] = optimize.minimize(cost, start[free], method="BFGS", options=options).x
    gain = problem.energy(found) / before - 1
    if gain < least:
        return fit
    values = found * problem.units
    sharpness = [problem.parabola(found, name)[1] for name in names]
    doubt = {
        name: unit * math.sqrt(least * before / curvature) if curvature > 0 else math.inf
        for name, unit, curvature in zip(names, problem.units[4:].tolist(), sharpness, strict=True)
    }
    higher = dict(zip(names, values[4:].tolist(), strict=True))
    return replace(
        fit,
        aberrations={**dict(zip(LOW, values[:3].tolist(), strict=True)), **higher},
        rotation_deg=math.degrees(float(values[3])),
        uncertainties_A={name: doubt[name] for name in names if math.isfinite(doubt[name])},
    )
