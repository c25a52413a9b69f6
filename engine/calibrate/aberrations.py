"""Defocus, astigmatism and rotation from the bright field itself (docs/theory/calibration.md).

Two criteria on the brightest spatial frequencies of the coefficients over the scan. J1 is the power of the aligned
bright field: sharp far from focus, blind in focus. J2 is the energy a weak phase object explains: exact in and out of
focus, with many false maxima. So: a grid over defocus and rotation by J1, its best points polished by J1, the winner
polished by J2. On sparse scans both are biased, in opposite directions, and their weighted mean is used.

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
"""Defocus step of the grid: phase at the disc's rim, in cycles, for the highest frequency."""
ROTATION_STEP_DEG = 6.0
STARTS = 3
FIELD_SHARE = 0.25
"""Largest geometric probe radius looked for, as a share of the visited field."""
ASTIGMATISM_SHARE = 0.3
"""Largest |C12| in |C10|: without a bound a transposed detector is fitted perfectly by astigmatism alone."""
LEAST_GAIN, GAIN_PER_FREQUENCY = 0.005, 1.0
"""Share of J2 that astigmatism must add on dense scans to be believed: a fixed one, and one over the frequencies.

Measured: 0.03 to 0.12 for 6 to 14 Å of astigmatism in 20 to 60 Å of defocus; 0.0003 and below where there is none, but
up to 0.02 (30 frequencies) and 0.11 (8 frequencies) on the first rows.
"""
ALIASED_STEP = 0.5
"""Step of the grid among aliases, whose frequencies are higher, in that of the other."""
FLAT = 1e-6
"""Share of a summit's height by which its neighbourhood may differ where a climb ends: steps tell the place better."""
IN_REACH = 0.5
"""Share of the height of a summit that the nearest point of the grid has at least."""
BEYOND_DOUBT, CERTAIN = 3.0, 2.0
"""Standard deviations by which a fit among aliases must leave less unexplained to be believed, and its handedness."""
LOW = ("C10", "C12a", "C12b")
ROUND = np.array([1.0, 0.0, 0.0, 1.0])
"""Of (C10, C12a, C12b, rotation): what a probe without astigmatism has."""
POWER_ERROR = 0.03
"""Bias of J1 on sparse scans, in 1/(lam Q^2) of the highest frequency: 0.02 to 0.04 for defoci of 200 Å to 13 µm."""
ENERGY_ERROR = 0.04
"""Bias of J2 where the object is no pure phase, as a share of the defocus."""


@dataclass(frozen=True)
class AberrationFit:
    """What explains the scan best: Krivanek coefficients in Å, rotation in degrees (mod 180), and how it was found.

    explained: share of the energy of the brightest frequencies; runner_up: J1 of the grid's second peak in the first's.
    """

    aberrations: dict[str, float]
    rotation_deg: float
    uncertainty_A: float
    rotation_uncertainty_deg: float
    explained: float
    runner_up: float
    uncertainties_A: Mapping[str, float] = field(default_factory=dict)
    """Of aberrations that have one of their own; the others have ``uncertainty_A``."""

    @property
    def low(self) -> DoubleArray:
        """C10, C12a, C12b in Å and the rotation in rad, as criteria take them."""
        return np.array([*(self.aberrations.get(name, 0.0) for name in LOW), math.radians(self.rotation_deg)])

    def turned(self) -> AberrationFit:
        """The other member of the pair that a weak phase object cannot tell apart."""
        reversed_signs = {name: -value for name, value in self.aberrations.items()}
        return replace(self, aberrations=reversed_signs, rotation_deg=self.rotation_deg + 180.0)


@dataclass(frozen=True)
class Search:
    """What is looked for: the range of defocus, and the rotation where it is known (degrees)."""

    largest_defocus_A: float
    defocus_step_A: float
    rotation_deg: float | None
    power_error_A: float = 0.0
    """Bias of J1 to be expected on a sparse scan, Å."""
    c10_A: float | None = None
    c12_A: tuple[float, float] | None = None
    """Known astigmatism: C12a and C12b."""

    @classmethod
    def of(cls, criteria: Criteria, rotation_deg: float | None) -> Search:
        """Range and step for a scan: up to a probe as large as a quarter of the field."""
        alpha, modulation = criteria.semiangle_rad, criteria.modulation
        highest = float(np.hypot(*modulation.q_scan.T).max())
        return cls(
            largest_defocus_A=FIELD_SHARE * modulation.field_A / alpha,
            defocus_step_A=GRID_CYCLES / (alpha * highest),
            rotation_deg=rotation_deg,
            power_error_A=POWER_ERROR / (criteria.wavelength_A * highest**2),
        )

    def weight_of_power(self, c10_A: float) -> float:
        """Weight of what J1 says beside J2 at a defocus: both biased, by a length and by a share of the defocus."""
        energy_error_A = ENERGY_ERROR * abs(c10_A)
        total = self.power_error_A**2 + energy_error_A**2
        return energy_error_A**2 / total if total > 0 else 0.0

    def between(self, by_power: DoubleArray, by_energy: DoubleArray, *, sparse: bool) -> DoubleArray:
        """What J2 says; of a sparse scan the weighted mean with what J1 says."""
        weight = self.weight_of_power(float(by_energy[0])) if sparse else 0.0
        return weight * by_power + (1 - weight) * by_energy

    def at_defocus(self, c10_A: float) -> Search:
        """The same with a known C10: then the half turn is no longer open."""
        return replace(self, c10_A=c10_A)

    @property
    def rotations_deg(self) -> DoubleArray:
        """Trial rotations: half a turn, the other half being the same with reversed defocus."""
        if self.rotation_deg is not None:
            return np.array([self.rotation_deg])
        return np.arange(0.0, 180.0 if self.c10_A is None else 360.0, ROTATION_STEP_DEG)

    @property
    def defoci_A(self) -> DoubleArray:
        """Trial values of C10."""
        if self.c10_A is not None:
            return np.array([self.c10_A])
        count = math.ceil(self.largest_defocus_A / self.defocus_step_A)
        return np.arange(-count, count + 1, dtype=float) * self.defocus_step_A


@dataclass(frozen=True)
class Grid:
    """J1 over defocus and rotation without astigmatism: best starts, its maximum, and the second peak in the first."""

    starts: list[DoubleArray]
    best: float
    runner_up: float

    @classmethod
    def of(
        cls, criteria: Criteria, search: Search, criterion: Callable[[Criteria, float, float], float] | None = None
    ) -> Grid:
        """Try every point, by J1 or another criterion; starts are at least three grid points apart."""
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
    """J1 or another criterion (rotations, defoci) at every point of a grid."""
    quick = criterion or Criteria.quick_power
    angles = np.deg2rad(search.rotations_deg)
    return np.array([[quick(criteria, float(c10), float(a)) for c10 in search.defoci_A] for a in angles])


def fit_aberrations(criteria: Criteria, search: Search, grid: Grid, *, sparse: bool) -> AberrationFit:
    """The two-stage fit from the best points of a grid; see the module's text."""
    by_power, by_energy = _in_two_stages(criteria, search, grid.starts)
    surely = math.inf
    if search.c12_A is None and search.c10_A is None:
        (by_power, by_energy), surely = _round_unless_told(criteria, search, grid, (by_power, by_energy), sparse=sparse)
    chosen = search.between(by_power, by_energy, sparse=sparse)
    spread = 0.5 * np.abs(by_power - by_energy)
    c10, c12a, c12b, rotation = (float(v) for v in chosen)
    return AberrationFit(
        aberrations={"C10": c10, "C12a": c12a, "C12b": c12b},
        rotation_deg=math.degrees(rotation),
        uncertainty_A=float(spread[0]),
        rotation_uncertainty_deg=math.degrees(float(spread[3])),
        explained=criteria.explained_share(chosen),
        runner_up=grid.runner_up,
        uncertainties_A=_doubt_of_astigmatism(chosen, surely),
    )


def _in_two_stages(
    criteria: Criteria, search: Search, starts: Sequence[DoubleArray], *, astigmatic: bool = True
) -> tuple[DoubleArray, DoubleArray]:
    """The highest J1 climbed from any start, and J2 climbed from there."""
    polished = [climb(criteria.aligned_power, start, search, astigmatic=astigmatic) for start in starts]
    by_power = max(polished, key=criteria.aligned_power)
    return by_power, climb(criteria.explained_energy, by_power, search, astigmatic=astigmatic)


def _round_unless_told(
    criteria: Criteria, search: Search, grid: Grid, found: tuple[DoubleArray, DoubleArray], *, sparse: bool
) -> tuple[tuple[DoubleArray, DoubleArray], float]:
    """What J1 and J2 ``found``, or without astigmatism where most frequencies prefer that; and the lead of the former.

    Few rows leave a valley between astigmatism and rotation, and of crystals a few bright frequencies decide J2.
    """
    by_power, by_energy = found
    if sparse:
        starts = [start * ROUND for start in (by_energy, *grid.starts)]
        without = _in_two_stages(criteria, search, starts, astigmatic=False)
    else:
        without = by_power, climb(criteria.explained_energy, by_energy * ROUND, search, astigmatic=False)
        gain = criteria.explained_energy(by_energy) / criteria.explained_energy(without[1]) - 1
        if gain < least_gain(criteria):
            return without, math.inf
    chosen, plain = (search.between(*one, sparse=sparse) for one in (found, without))
    surely = lead(criteria.left(chosen), criteria.left(plain))
    return (found, surely) if surely > 0 else (without, math.inf)


def _doubt_of_astigmatism(low: DoubleArray, surely: float) -> dict[str, float]:
    """An astigmatism that is not beyond doubt preferred to none (``surely``, a lead) is as uncertain as it is large."""
    size_A = math.hypot(float(low[1]), float(low[2]))
    return {name: size_A for name in LOW[1:]} if 0 < size_A and surely <= CERTAIN else {}


def fit_aliased(criteria: Criteria, search: Search, least: float) -> tuple[AberrationFit, float] | None:
    """The fit of an undersampled scan, and its J3, by criteria with aliases; None where J3 will not exceed ``least``.

    There it stands out far and wide, and where J1 has its maximum need not be near: J3 itself is taken at every point
    of a grid and climbed from the best ones, without astigmatism and then with it.
    """
    fine = replace(search, defocus_step_A=ALIASED_STEP * search.defocus_step_A)
    grid = Grid.of(criteria, fine, Criteria.quickly_explained)
    return climbed_from(criteria, criteria.evenly_explained, search, grid, least)


def fit_by_energy(criteria: Criteria, search: Search) -> AberrationFit | None:
    """The fit of a scan of few electrons, by J2 of all frequencies at every point of a grid: J1 is lost in noise there.

    None where J2 is what noise gives.
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
    """A criterion climbed from the best points of a grid, and its height there; None where that is below ``least``."""
    if least > 0 and max(map(criterion, grid.starts)) < IN_REACH * least:
        return None
    plain = plain_summit(criterion, search, grid.starts)
    return fit_from(criteria, criterion, search, plain, runner_up=grid.runner_up)


def plain_summit(
    criterion: Callable[[DoubleArray], float], search: Search, starts: Sequence[DoubleArray]
) -> DoubleArray:
    """The highest summit that is climbed from the best of some starts, their astigmatism kept."""
    begun = [criterion(start) for start in starts]
    near = [start for start, height in zip(starts, begun, strict=True) if height >= IN_REACH * max(begun)]
    return max((climb(criterion, start, search, astigmatic=False) for start in near), key=criterion)


def fit_from(
    criteria: Criteria,
    criterion: Callable[[DoubleArray], float],
    search: Search,
    plain: DoubleArray,
    *,
    runner_up: float = 0.0,
) -> tuple[AberrationFit, float]:
    """The fit at a summit without astigmatism, or at one with it where that is beyond doubt; and its height."""
    best = climb(criterion, plain, search)
    gains = criterion(best) >= (1 + least_gain(criteria)) * criterion(plain)
    surely = lead(criteria.left(best), criteria.left(plain)) if gains else 0.0
    if surely <= 0:
        best = plain
    height, step = criterion(best), search.defocus_step_A
    c10, c12a, c12b, rotation = (float(v) for v in best)
    aside, turned = np.array([0.25 * step, 0.0, 0.0, 0.0]), np.array([0.0, 0.0, 0.0, math.radians(1.0)])
    fit = AberrationFit(
        aberrations={"C10": c10, "C12a": c12a, "C12b": c12b},
        rotation_deg=math.degrees(rotation),
        uncertainty_A=_doubt(criteria, criterion, best, aside) * 0.25 * step,
        rotation_uncertainty_deg=_doubt(criteria, criterion, best, turned) if search.rotation_deg is None else 0.0,
        explained=criteria.explained_share(best),
        runner_up=runner_up,
        uncertainties_A=_doubt_of_astigmatism(best, surely),
    )
    return fit, height


def _doubt(
    criteria: Criteria, criterion: Callable[[DoubleArray], float], best: DoubleArray, aside: DoubleArray
) -> float:
    """How many times ``aside`` from a maximum of a criterion costs the least gain that would be believed."""
    here = criterion(best)
    drop = here - 0.5 * (criterion(best - aside) + criterion(best + aside))
    return math.sqrt(least_gain(criteria) * here / drop) if drop > 0 else math.inf


def fit_near(criteria: Criteria, search: Search, start: DoubleArray) -> AberrationFit:
    """J2's maximum near a start (C10, C12a, C12b, rotation), the start's rotation and astigmatism kept.

    Its uncertainty is the change of C10 that costs the least gain that would be believed.
    """
    step = search.defocus_step_A
    known = replace(search, rotation_deg=math.degrees(float(start[3])), c12_A=(float(start[1]), float(start[2])))
    best = climb(criteria.explained_energy, start, known)
    aside = np.array([0.5 * step, 0.0, 0.0, 0.0])
    doubt = 0.5 * step * _doubt(criteria, criteria.explained_energy, best, aside)
    c10, c12a, c12b, rotation = (float(v) for v in best)
    return AberrationFit(
        aberrations={"C10": c10, "C12a": c12a, "C12b": c12b},
        rotation_deg=math.degrees(rotation),
        uncertainty_A=doubt,
        rotation_uncertainty_deg=0.0,
        explained=criteria.explained_share(best),
        runner_up=0.0,
    )


def in_focus_unless_told(criteria: Criteria, fit: AberrationFit) -> AberrationFit:
    """A fit, or none of its aberrations where most frequencies do not prefer them, uncertain by as much as J2 wanted.

    Of graphene in focus a few spots made J2 4 % higher 29 Å to either side.
    """
    flat = fit.low * np.array([0.0, 0.0, 0.0, 1.0])
    if lead(criteria.left(fit.low), criteria.left(flat)) > 0:
        return fit
    uncertainty_A = max(fit.uncertainty_A, abs(fit.aberrations["C10"]))
    return replace(fit, aberrations=dict.fromkeys(LOW, 0.0), uncertainty_A=uncertainty_A)


def is_below(criteria: Criteria, in_focus: DoubleArray, depth_A: float) -> bool:
    """Whether most frequencies prefer the plane in focus to one as far above the entrance, where nothing is.

    Of a sheet in focus J2 has two summits of one height, one at either side, and of few electrons any: a few bright
    frequencies make them.
    """
    there, entrance, above = (
        criteria.left(in_focus - np.array([times * depth_A, 0.0, 0.0, 0.0])) for times in (0.0, 1.0, 2.0)
    )
    return lead(there, above) > CERTAIN and lead(there, entrance) > 0


def least_gain(criteria: Criteria) -> float:
    """Share of J2 that more parameters must add to be believed."""
    return max(LEAST_GAIN, GAIN_PER_FREQUENCY / len(criteria.modulation.q_scan))


def climb(
    criterion: Callable[[DoubleArray], float], start: DoubleArray, search: Search, *, astigmatic: bool = True
) -> DoubleArray:
    """Nelder-Mead from a start, astigmatism bounded or left out; a known rotation stays."""
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
    found = optimize.minimize(cost, np.asarray(origin, dtype=float), method="Nelder-Mead", options=options)
    best = start.copy()
    best[free] = np.asarray(found.x) * sizes[free]
    return best
