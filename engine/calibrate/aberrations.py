"""Defocus, astigmatism and rotation from the bright field itself (docs/theory/calibration.md).

Two criteria are evaluated on the brightest spatial frequencies of the coefficients over the scan. J1 is the power of
the aligned bright field: sharp far from focus, blind in focus. J2 is the energy that a weak phase object explains:
exact in and out of focus, with many false maxima. The search therefore uses J1 on a grid over defocus and rotation,
polishes its best points by J1, and the winner by J2. On sparse scans both are biased, in opposite directions, and their
weighted mean is used.

(rotation + 180, -C10, -C12, -phase) is an exact symmetry of weak phase objects: the half turn is settled elsewhere
(`calibrate/sign.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ptylive.engine.calibrate.criteria import Criteria, lead
from ptylive.schema.model import DoubleArray

GRID_CYCLES = 0.5
"""Defocus step of the grid, expressed as phase at the disc's rim, in cycles, for the highest frequency."""
ROTATION_STEP_DEG = 6.0
"""Step of the rotation on the grid: a tenth of a radian turns a shift by a tenth of its length."""
STARTS = 3
"""Number of the grid's best points that are climbed from: J1 has few maxima."""
FIELD_SHARE = 0.25
"""Largest geometric probe radius searched, as a share of the visited field."""
ASTIGMATISM_SHARE = 0.3
"""Largest |C12| over |C10|: without a bound a transposed detector is fitted perfectly by astigmatism alone."""
LEAST_GAIN, GAIN_PER_FREQUENCY = 0.005, 1.0
"""Share of J2 that astigmatism must add on dense scans to be believed: a constant, and one divided by the frequencies.

Measured: 0.03 to 0.12 for 6 to 14 Å of astigmatism in 20 to 60 Å of defocus. Without astigmatism 0.0003 and below, but
up to 0.02 (30 frequencies) and 0.11 (8 frequencies) on the first rows.
"""
ALIASED_STEP = 0.5
"""Grid step among aliases, whose frequencies are higher, relative to that of the ordinary grid."""
FLAT = 1e-6
"""Share of a summit's height within which a climb ends; the step sizes locate the summit more precisely."""
IN_REACH = 0.5
"""Least share of a summit's height at the nearest point of the grid."""
BEYOND_DOUBT, CERTAIN = 3.0, 2.0
"""Standard deviations of the lead that a fit among aliases needs to be believed, and that its handedness needs."""
LOW = ("C10", "C12a", "C12b")
"""Aberrations that the criteria vary, in the order of their parameters."""
ROUND = np.array([1.0, 0.0, 0.0, 1.0])
"""Factors on (C10, C12a, C12b, rotation) that remove astigmatism."""
POWER_ERROR = 0.03
"""Bias of J1 on sparse scans, in 1/(lam Q^2) of the highest frequency: 0.02 to 0.04 for defoci of 200 Å to 13 µm."""
ENERGY_ERROR = 0.04
"""Bias of J2 if the object is not a pure phase object, as a share of the defocus."""


@dataclass(frozen=True)
class AberrationFit:
    """Optics that explain the scan best: Krivanek coefficients in Å, rotation in degrees (mod 180), and their quality.

    explained: share of the energy of the brightest frequencies; runner_up: J1 of the grid's second peak over the first.
    """

    aberrations: dict[str, float]
    rotation_deg: float
    uncertainty_A: float
    rotation_uncertainty_deg: float
    explained: float
    runner_up: float
    uncertainties_A: Mapping[str, float] = field(default_factory=dict)
    """Uncertainties of individual aberrations; all others have ``uncertainty_A``."""

    @classmethod
    def at(cls, low: DoubleArray, **quality: Any) -> AberrationFit:
        """Return the fit of parameters (4,) as :attr:`low` has them, with the other attributes as keywords."""
        *aberrations_A, rotation = (float(value) for value in low)
        return cls(dict(zip(LOW, aberrations_A, strict=True)), math.degrees(rotation), **quality)

    @property
    def low(self) -> DoubleArray:
        """Parameters (4,) of the criteria: C10, C12a, C12b in Å and the rotation in rad."""
        return np.array([*(self.aberrations.get(name, 0.0) for name in LOW), math.radians(self.rotation_deg)])

    def turned(self) -> AberrationFit:
        """Return the other member of the pair that a weak phase object cannot distinguish."""
        reversed_signs = {name: -value for name, value in self.aberrations.items()}
        return replace(self, aberrations=reversed_signs, rotation_deg=self.rotation_deg + 180.0)


@dataclass(frozen=True)
class Search:
    """Search space: the range of defocus, and the rotation if it is known (degrees)."""

    largest_defocus_A: float
    defocus_step_A: float
    rotation_deg: float | None
    power_error_A: float = 0.0
    """Expected bias of J1 on a sparse scan, Å."""
    c10_A: float | None = None
    c12_A: tuple[float, float] | None = None
    """C12a and C12b, if the astigmatism is known."""

    @classmethod
    def of(cls, criteria: Criteria, rotation_deg: float | None) -> Search:
        """Return range and step for a scan: up to a probe as large as a quarter of the field."""
        alpha, modulation = criteria.semiangle_rad, criteria.modulation
        highest = float(np.hypot(*modulation.q_scan.T).max())
        return cls(
            largest_defocus_A=FIELD_SHARE * modulation.field_A / alpha,
            defocus_step_A=GRID_CYCLES / (alpha * highest),
            rotation_deg=rotation_deg,
            power_error_A=POWER_ERROR / (criteria.wavelength_A * highest**2),
        )

    def weight_of_power(self, c10_A: float) -> float:
        """Return the weight of J1 relative to J2; J1 is biased by a length, J2 by a share of the defocus."""
        energy_error_A = ENERGY_ERROR * abs(c10_A)
        total = self.power_error_A**2 + energy_error_A**2
        return energy_error_A**2 / total if total > 0 else 0.0

    def between(self, by_power: DoubleArray, by_energy: DoubleArray, *, sparse: bool) -> DoubleArray:
        """Return the parameters (4,) found by J2, or for a sparse scan their weighted mean with those found by J1."""
        weight = self.weight_of_power(float(by_energy[0])) if sparse else 0.0
        return weight * by_power + (1 - weight) * by_energy

    def at_defocus(self, c10_A: float) -> Search:
        """Return the search with a known C10, which leaves the full range of rotations."""
        return replace(self, c10_A=c10_A)

    @property
    def rotations_deg(self) -> DoubleArray:
        """Trial rotations (n,), degrees: half a turn, because the other half is equivalent to reversed defocus."""
        if self.rotation_deg is not None:
            return np.array([self.rotation_deg])
        return np.arange(0.0, 180.0 if self.c10_A is None else 360.0, ROTATION_STEP_DEG)

    @property
    def defoci_A(self) -> DoubleArray:
        """Trial values of C10 (n,), Å."""
        if self.c10_A is not None:
            return np.array([self.c10_A])
        count = math.ceil(self.largest_defocus_A / self.defocus_step_A)
        return np.arange(-count, count + 1, dtype=float) * self.defocus_step_A


@dataclass(frozen=True)
class Grid:
    """J1 over defocus and rotation without astigmatism: best starts, maximum, and ratio of the second peak to it."""

    starts: list[DoubleArray]
    best: float
    runner_up: float

    @classmethod
    def of(
        cls, criteria: Criteria, search: Search, criterion: Callable[[Criteria, float, float], float] | None = None
    ) -> Grid:
        """Evaluate J1 or another criterion at every point; starts are at least three grid points apart."""
        angles, defoci = np.deg2rad(search.rotations_deg), search.defoci_A
        power = trial_values(criteria, search, criterion)
        chosen: list[tuple[int, int]] = []
        for index in np.argsort(power.ravel())[::-1]:
            a, c = divmod(int(index), len(defoci))
            if all(abs(c - d) > 2 or min(abs(a - b), len(angles) - abs(a - b)) > 2 for b, d in chosen):
                chosen.append((a, c))
            if len(chosen) == STARTS:
                break
        astigmatism = search.c12_A or (0.0, 0.0)
        starts = [np.array([defoci[c], *astigmatism, angles[a]]) for a, c in chosen]
        best = float(power.max())
        second = float(power[chosen[1]]) / best if len(chosen) > 1 and best > 0 else 0.0
        return cls(starts, best, second)


def trial_values(
    criteria: Criteria, search: Search, criterion: Callable[[Criteria, float, float], float] | None = None
) -> DoubleArray:
    """Return J1 or another criterion (rotations, defoci) at every point of a grid."""
    quick = criterion or Criteria.quick_power
    angles = np.deg2rad(search.rotations_deg)
    return np.array([[quick(criteria, float(c10), float(a)) for c10 in search.defoci_A] for a in angles])


def fit_aberrations(criteria: Criteria, search: Search, grid: Grid, *, sparse: bool) -> AberrationFit:
    """Make the two-stage fit from the best points of a grid, as described in the module docstring."""
    by_power, by_energy = _in_two_stages(criteria, search, grid.starts)
    certainty = math.inf
    if search.c12_A is None and search.c10_A is None:
        (by_power, by_energy), certainty = _round_unless_significant(
            criteria, search, grid, (by_power, by_energy), sparse=sparse
        )
    chosen = search.between(by_power, by_energy, sparse=sparse)
    spread = 0.5 * np.abs(by_power - by_energy)
    return AberrationFit.at(
        chosen,
        uncertainty_A=float(spread[0]),
        rotation_uncertainty_deg=math.degrees(float(spread[3])),
        explained=criteria.explained_share(chosen),
        runner_up=grid.runner_up,
        uncertainties_A=_astigmatism_uncertainty(chosen, certainty),
    )


def _in_two_stages(
    criteria: Criteria, search: Search, starts: Sequence[DoubleArray], *, astigmatic: bool = True
) -> tuple[DoubleArray, DoubleArray]:
    """Return the highest J1 climbed to from any start, and the J2 maximum climbed to from there."""
    polished = [climb(criteria.aligned_power, start, search, astigmatic=astigmatic) for start in starts]
    by_power = max(polished, key=criteria.aligned_power)
    return by_power, climb(criteria.explained_energy, by_power, search, astigmatic=astigmatic)


def _round_unless_significant(
    criteria: Criteria, search: Search, grid: Grid, found: tuple[DoubleArray, DoubleArray], *, sparse: bool
) -> tuple[tuple[DoubleArray, DoubleArray], float]:
    """Return what J1 and J2 ``found``, or the fit without astigmatism if most frequencies prefer it; and the lead.

    A few rows leave a valley between astigmatism and rotation, and in crystals a few bright frequencies decide J2.
    """
    by_power, by_energy = found
    if sparse:
        starts = [start * ROUND for start in (by_energy, *grid.starts)]
        round_fits = _in_two_stages(criteria, search, starts, astigmatic=False)
    else:
        round_fits = by_power, climb(criteria.explained_energy, by_energy * ROUND, search, astigmatic=False)
        gain = criteria.explained_energy(by_energy) / criteria.explained_energy(round_fits[1]) - 1
        if gain < least_gain(criteria):
            return round_fits, math.inf
    chosen, plain = (search.between(*pair, sparse=sparse) for pair in (found, round_fits))
    certainty = lead(criteria.unexplained(chosen), criteria.unexplained(plain))
    return (found, certainty) if certainty > 0 else (round_fits, math.inf)


def _astigmatism_uncertainty(low: DoubleArray, certainty: float) -> dict[str, float]:
    """Return an uncertainty equal to its size for an astigmatism whose lead over none (``certainty``) leaves doubt."""
    size_A = math.hypot(float(low[1]), float(low[2]))
    return {name: size_A for name in LOW[1:]} if 0 < size_A and certainty <= CERTAIN else {}


def fit_aliased(criteria: Criteria, search: Search, least: float) -> tuple[AberrationFit, float] | None:
    """Fit an undersampled scan by criteria with aliases; return fit and J3, or None if J3 will not exceed ``least``.

    J3 stands out clearly, and its maximum need not be near that of J1. J3 itself is therefore evaluated at every point
    of a grid and climbed from the best ones, without astigmatism and then with it.
    """
    fine = replace(search, defocus_step_A=ALIASED_STEP * search.defocus_step_A)
    grid = Grid.of(criteria, fine, Criteria.quickly_explained)
    return climbed_from(criteria, criteria.evenly_explained, search, grid, least)


def fit_by_energy(criteria: Criteria, search: Search) -> AberrationFit | None:
    """Fit a scan of few electrons by J2 of all frequencies at every point of a grid, because J1 is lost in noise.

    None if J2 is no higher than noise allows.
    """
    fine = replace(search, defocus_step_A=ALIASED_STEP * search.defocus_step_A)
    grid = Grid.of(criteria, fine, Criteria.energy)
    found = climbed_from(criteria, criteria.explained_energy, search, grid, 0.0)
    if found is None or criteria.over_chance(found[0].explained) < criteria.above_chance:
        return None
    return found[0]


def climbed_from(
    criteria: Criteria, criterion: Callable[[DoubleArray], float], search: Search, grid: Grid, least: float
) -> tuple[AberrationFit, float] | None:
    """Climb a criterion from the best points of a grid; return fit and height, or None if it is below ``least``."""
    if least > 0 and max(map(criterion, grid.starts)) < IN_REACH * least:
        return None
    plain = plain_summit(criterion, search, grid.starts)
    return fit_from(criteria, criterion, search, plain, runner_up=grid.runner_up)


def plain_summit(
    criterion: Callable[[DoubleArray], float], search: Search, starts: Sequence[DoubleArray]
) -> DoubleArray:
    """Return the highest summit (4,) reached from the best of some starts (4,), keeping their astigmatism."""
    heights = [criterion(start) for start in starts]
    in_reach = [start for start, height in zip(starts, heights, strict=True) if height >= IN_REACH * max(heights)]
    return max((climb(criterion, start, search, astigmatic=False) for start in in_reach), key=criterion)


def fit_from(
    criteria: Criteria,
    criterion: Callable[[DoubleArray], float],
    search: Search,
    plain: DoubleArray,
    *,
    runner_up: float = 0.0,
) -> tuple[AberrationFit, float]:
    """Return the fit at a summit (4,), with astigmatism only if that is beyond doubt, and its height."""
    best = climb(criterion, plain, search)
    gains = criterion(best) >= (1 + least_gain(criteria)) * criterion(plain)
    certainty = lead(criteria.unexplained(best), criteria.unexplained(plain)) if gains else 0.0
    if certainty <= 0:
        best = plain
    height, step = criterion(best), search.defocus_step_A
    defocus_offset = np.array([0.25 * step, 0.0, 0.0, 0.0])
    rotation_offset = np.array([0.0, 0.0, 0.0, math.radians(1.0)])
    fit = AberrationFit.at(
        best,
        uncertainty_A=_uncertainty(criteria, criterion, best, defocus_offset) * 0.25 * step,
        rotation_uncertainty_deg=_uncertainty(criteria, criterion, best, rotation_offset)
        if search.rotation_deg is None
        else 0.0,
        explained=criteria.explained_share(best),
        runner_up=runner_up,
        uncertainties_A=_astigmatism_uncertainty(best, certainty),
    )
    return fit, height


def _uncertainty(
    criteria: Criteria, criterion: Callable[[DoubleArray], float], best: DoubleArray, offset: DoubleArray
) -> float:
    """Return the multiple of ``offset`` from a maximum at which the criterion drops by the least believable gain."""
    height = criterion(best)
    drop = height - 0.5 * (criterion(best - offset) + criterion(best + offset))
    return math.sqrt(least_gain(criteria) * height / drop) if drop > 0 else math.inf


def fit_near(criteria: Criteria, search: Search, start: DoubleArray) -> AberrationFit:
    """Find J2's maximum near a start (C10, C12a, C12b, rotation), keeping the start's rotation and astigmatism.

    Its uncertainty is the change of C10 at which J2 drops by the least believable gain.
    """
    step = search.defocus_step_A
    restricted = replace(search, rotation_deg=math.degrees(float(start[3])), c12_A=(float(start[1]), float(start[2])))
    best = climb(criteria.explained_energy, start, restricted)
    offset = np.array([0.5 * step, 0.0, 0.0, 0.0])
    return AberrationFit.at(
        best,
        uncertainty_A=0.5 * step * _uncertainty(criteria, criteria.explained_energy, best, offset),
        rotation_uncertainty_deg=0.0,
        explained=criteria.explained_share(best),
        runner_up=0.0,
    )


def in_focus_unless_significant(criteria: Criteria, fit: AberrationFit) -> AberrationFit:
    """Return the fit, or one without aberrations, uncertain by the rejected C10, unless most frequencies prefer them.

    For graphene in focus a few spots made J2 4 % higher 29 Å to either side.
    """
    flat = fit.low * np.array([0.0, 0.0, 0.0, 1.0])
    if lead(criteria.unexplained(fit.low), criteria.unexplained(flat)) > 0:
        return fit
    uncertainty_A = max(fit.uncertainty_A, abs(fit.aberrations["C10"]))
    return replace(fit, aberrations=dict.fromkeys(LOW, 0.0), uncertainty_A=uncertainty_A)


def is_below(criteria: Criteria, in_focus: DoubleArray, depth_A: float) -> bool:
    """Return whether most frequencies prefer the plane ``in_focus`` (4,) to one as far above the entrance, in vacuum.

    For a sheet in focus J2 has two summits of equal height, one on either side, and with few electrons any number: they
    are due to a few bright frequencies.
    """
    at_depth, entrance, above = (
        criteria.unexplained(in_focus - np.array([multiple * depth_A, 0.0, 0.0, 0.0])) for multiple in (0.0, 1.0, 2.0)
    )
    return lead(at_depth, above) > CERTAIN and lead(at_depth, entrance) > 0


def least_gain(criteria: Criteria) -> float:
    """Return the share of J2 that more parameters must add to be believed."""
    return max(LEAST_GAIN, GAIN_PER_FREQUENCY / len(criteria.modulation.q_scan))


def climb(
    criterion: Callable[[DoubleArray], float], start: DoubleArray, search: Search, *, astigmatic: bool = True
) -> DoubleArray:
    """Run Nelder-Mead from parameters (4,), with astigmatism bounded or left out; a known rotation stays fixed."""
    step = search.defocus_step_A
    sizes = np.array([step, step / 3, step / 3, math.radians(ROTATION_STEP_DEG / 2)])
    open_defocus = search.c10_A is None
    open_astigmatism = open_defocus and astigmatic and search.c12_A is None
    free = np.array([open_defocus, open_astigmatism, open_astigmatism, search.rotation_deg is None])
    if not free.any():
        return start
    from scipy import optimize

    def cost(x: DoubleArray) -> float:
        parameters = start.copy()
        parameters[free] = x * sizes[free]
        bound = max(ASTIGMATISM_SHARE * abs(parameters[0]), 2 * step)
        excess = max(0.0, math.hypot(parameters[1], parameters[2]) / bound - 1.0) if open_astigmatism else 0.0
        return float(-criterion(parameters) * (1.0 - min(excess, 0.5)))

    origin = (start / sizes)[free]
    simplex = np.vstack([origin, origin + np.eye(len(origin))])
    height = abs(criterion(start))
    options: Any = {"initial_simplex": simplex, "xatol": 0.01, "fatol": FLAT * height, "maxfev": 220}
    result = optimize.minimize(cost, np.asarray(origin, dtype=float), method="Nelder-Mead", options=options)
    best = start.copy()
    best[free] = np.asarray(result.x) * sizes[free]
    return best
