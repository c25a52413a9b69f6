"""From a tilt series to potential and thickness, without a starting model.

Random weak potentials at thicknesses spread over the range are refined on the tilts far from the zone axis, together
with the thickness; the best one is refined further on all tilts. Far from the axis no Bloch wave is bound to a column,
and few beams are strong at a time: there, starts end in the same minimum, whereas on all tilts most of them end in
minima in which the phase of a column's bound wave is wrong by a full turn (docs/larbed.md). Method and data after Koch,
Ultramicroscopy 111 (2011) 828; the inversion of rocking-beam patterns by gradients after Wang, Pennington and Koch,
Phys. Rev. Lett. 117 (2016) 015501.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.larbed.crystal import CrystalGrid
from ptylive.engine.larbed.objective import THICKEST, THINNEST, Crystal, TiltObjective
from ptylive.engine.larbed.structure_factors import FINE, best_correlation, coefficients, potential_map
from ptylive.engine.larbed.tilt_series import TiltSeries
from ptylive.engine.memory import check_fits
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

OUTER_SHARE = 0.55
"""Fraction of the tilts, those furthest from the centre, on which starts are refined."""
OUTER_TILTS = 100
"""Largest number of these tilts, drawn at random."""
OUTER_OFFSET = 0.03
"""Loss offset of the starts, as a fraction of a pattern's electrons: strong reflections count, all alike."""
START_RAD = 1.0
"""Standard deviation of the total phase of all slices of a start."""
START_WIDTH_INVA = 1.0
"""Width of the Gaussian that filters starts."""
HELD_OUT = 0.1
"""Fraction of the tilts that are held out from all refinement."""
ROUNDS = 2
"""Rounds of refinement on all tilts; the crystal is resliced before each."""
CURVE = np.linspace(0.8, 1.2, 9)
"""Thicknesses of the curve, relative to the result."""
CURVE_ITERATIONS = 15
MOST_RESIDUAL = 0.1
"""Bound on the median over the tilts, beyond counting noise: a model with a larger residual is not the crystal yet."""
AGREEING = 0.9
"""Correlation of potentials above which two starts have found the same."""
LEAST_EXPLAINED = 0.5
"""Least fraction explained of the loss that each reflection's mean leaves at held-out tilts; less is not a model."""
REFINED = frozenset({"phase", "thickness", "centre", "brightness"})
OPTIONAL = frozenset({"background"})
LEAST_TILTS = 20


@dataclass(frozen=True)
class LarbedSettings:
    """Settings of the inversion."""

    thickness_A: tuple[float, float] = (100.0, 400.0)
    """Range over which starts are spread; the result may lie outside."""
    starts: int = 8
    first_iterations: int = 60
    last_iterations: int = 60
    slice_A: float = 4.0
    """Upper bound of the slice thickness."""
    refine_background: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Start:
    """One start and its result."""

    seed: int
    from_A: float
    thickness_A: float
    loss: float
    """Loss per pattern and reflection, on the outer tilts."""
    correlation: float
    """Correlation of its potential with the result's, whatever the origins of their cells."""

    @property
    def ran_away(self) -> bool:
        """Whether the thickness ended on a bound."""
        return not THINNEST < self.thickness_A / self.from_A < THICKEST


@dataclass(frozen=True, eq=False)
class InversionResult:
    """The crystal found, and how well it explains the series."""

    crystal: Crystal
    grid: CrystalGrid
    series: TiltSeries
    model: FloatArray
    """(N, M) expected counts."""
    loss: float
    """Loss per pattern and reflection used in refinement; counting noise alone leaves 0.25."""
    explained: float
    """1 - loss over the loss of the mean of each reflection, at held-out tilts: 1 is everything, 0 nothing."""
    starts: tuple[Start, ...]
    curve: DoubleArray
    """(K, 2) thickness, and loss after refining the potential at it."""

    @property
    def residual(self) -> FloatArray:
        """(N,) sum |model - data| / sum data of each tilt."""
        total = np.maximum(self.series.counts.sum(axis=1), 1)
        return np.asarray(np.abs(self.model - self.series.counts).sum(axis=1) / total, dtype=np.float32)

    @property
    def noise_residual(self) -> float:
        """Median residual that counting noise alone would leave: sum sqrt(2 D / pi) / sum D."""
        data = self.series.counts.clip(0)
        return float(np.median(np.sqrt(2 * data / np.pi).sum(axis=1) / np.maximum(data.sum(axis=1), 1)))

    @property
    def agreeing(self) -> int:
        """Number of starts that ended in about the same potential as the result."""
        return sum(start.correlation >= AGREEING for start in self.starts)

    def warning(self) -> str:
        """Evidence against the result, in words; empty if there is none."""
        if not self.explained >= LEAST_EXPLAINED:
            return (
                f"the model explains {max(self.explained, 0):.0%} of how reflections change with the tilt, at tilts not"
                " used for refinement: potential and thickness mean nothing; check tilts (order, step, rotation), cell"
                " and energy"
            )
        median = float(np.median(self.residual))
        if median > MOST_RESIDUAL + self.noise_residual:
            return (
                f"the model is {median:.0%} off the reflections, counting noise would leave {self.noise_residual:.0%}:"
                " probably not the right minimum; give more starts (--starts) or larger tilts"
            )
        if self.agreeing < 2 <= len(self.starts):
            return (
                f"{self.agreeing} of {len(self.starts)} starts led to this potential: give more (--starts); if that"
                " does not help, the crystal is too thin to show its phases"
            )
        return ""


def grid_of(series: TiltSeries) -> CrystalGrid:
    """The smallest grid with a fast transform that holds all reflections."""
    import scipy.fft

    size = scipy.fft.next_fast_len(2 * int(np.abs(series.hk).max()) + 2, real=False)
    return CrystalGrid(series.cell_A, size + size % 2)


def invert(
    series: TiltSeries,
    settings: LarbedSettings,
    on_step: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> InversionResult:
    """Potential and thickness of the crystal of a series. Raises RefinementError for too short a series.

    ``on_step`` is called with the iterations done, their maximum, and the current stage. MemoryError if it does not
    fit.
    """
    if len(series.tilts_mrad) < LEAST_TILTS:
        raise RefinementError(f"{len(series.tilts_mrad)} tilts", f"a tilt series needs at least {LEAST_TILTS}")
    grid, rng = grid_of(series), np.random.default_rng(settings.seed)
    _check_fits(series, grid, settings)
    order = rng.permutation(len(series.tilts_mrad))
    held_out = np.sort(order[: max(1, round(HELD_OUT * len(order)))])
    used = np.sort(order[len(held_out) :])
    counter = _Counter(on_step, settings)
    minima = _from_starts(series.part(_outer(series, used, rng)), grid, settings, counter)
    best = min(minima, key=lambda pair: (pair[1].ran_away, pair[1].loss))[0]
    moving = REFINED | (OPTIONAL if settings.refine_background else frozenset())
    crystal, loss, rest = best, math.inf, series.part(used)
    for _ in range(ROUNDS):
        objective = TiltObjective(rest, grid, resliced(crystal, settings.slice_A), moving)
        crystal, loss = objective.minimised(settings.last_iterations // ROUNDS, counter.step("all tilts"))
    curve = _curve(series.part(rng.permutation(used)[:OUTER_TILTS]), grid, crystal, settings, counter)
    model = TiltObjective(series, grid, crystal, frozenset()).beams(crystal)
    explained = _explained(series, model, used, held_out)
    starts = tuple(
        replace(start, correlation=_correlation(minimum, crystal, series.energy_eV)) for minimum, start in minima
    )
    return InversionResult(crystal, grid, series, model, loss, explained, starts, curve)


def _correlation(first: Crystal, second: Crystal, energy_eV: float) -> float:
    maps = [potential_map(coefficients(each, energy_eV), FINE * len(each.phase)) for each in (first, second)]
    return best_correlation(*maps)


def resliced(crystal: Crystal, slice_A: float, thickness_A: float | None = None) -> Crystal:
    """The same potential in slices no thicker than ``slice_A``, optionally with another thickness."""
    thickness = crystal.thickness_A if thickness_A is None else thickness_A
    slices = max(2, math.ceil(thickness / slice_A))
    factor = thickness / slices * crystal.slices / crystal.thickness_A
    return replace(crystal, phase=crystal.phase * factor, thickness_A=thickness, slices=slices)


def random_start(series: TiltSeries, grid: CrystalGrid, thickness_A: float, slice_A: float, seed: int) -> Crystal:
    """A weak random potential."""
    rng, slices = np.random.default_rng(seed), max(2, math.ceil(thickness_A / slice_A))
    spectrum = np.fft.fft2(rng.normal(size=(grid.pixels, grid.pixels)))
    spectrum *= np.exp(-grid.q_squared() / START_WIDTH_INVA**2)
    spectrum[0, 0] = 0
    phase = np.fft.ifft2(spectrum).real
    phase *= START_RAD / slices / phase.std()
    return Crystal(phase, thickness_A, slices, np.zeros(2), 1.0, np.zeros(len(series.hk)))


class _Counter:
    """Progress over all stages."""

    def __init__(self, on_step: Callable[[int, int, str], None], settings: LarbedSettings) -> None:
        self._on_step, self._iterations = on_step, 0
        curve = len(CURVE) * CURVE_ITERATIONS
        self._total = settings.starts * settings.first_iterations + settings.last_iterations + curve

    def step(self, text: str) -> Callable[[float], None]:
        def advance(loss: float) -> None:
            self._iterations = min(self._iterations + 1, self._total)
            self._on_step(self._iterations, self._total, f"{text}, loss {loss:.4g}")

        return advance


def _outer(series: TiltSeries, used: IndexArray, rng: np.random.Generator) -> IndexArray:
    distance_mrad = np.hypot(*(series.tilts_mrad[used] - series.tilts_mrad[used].mean(axis=0)).T)
    outer = used[np.argsort(distance_mrad)[round((1 - OUTER_SHARE) * len(used)) :]]
    return np.sort(rng.permutation(outer)[:OUTER_TILTS])


def _from_starts(
    series: TiltSeries, grid: CrystalGrid, settings: LarbedSettings, counter: _Counter
) -> list[tuple[Crystal, Start]]:
    low, high = settings.thickness_A
    # at the middle of equal parts of the range, so that a single start begins in its middle
    shares = (np.arange(settings.starts) + 0.5) / settings.starts
    found = []
    for number, thickness in enumerate(low * (high / low) ** shares):
        seed = settings.seed + number
        start = random_start(series, grid, float(thickness), settings.slice_A, seed)
        objective = TiltObjective(
            series, grid, start, frozenset({"phase", "thickness"}), OUTER_OFFSET * series.electrons
        )
        text = f"start {number + 1} of {settings.starts}"
        crystal, loss = objective.minimised(settings.first_iterations, counter.step(text))
        found.append((crystal, Start(seed, float(thickness), crystal.thickness_A, loss, math.nan)))
    return found


def _curve(
    series: TiltSeries, grid: CrystalGrid, found: Crystal, settings: LarbedSettings, counter: _Counter
) -> DoubleArray:
    curve = []
    for factor in CURVE:
        start = resliced(found, settings.slice_A, found.thickness_A * float(factor))
        # thin crystals reveal the total phase of all slices, which is therefore kept
        start = replace(start, phase=start.phase / factor)
        objective = TiltObjective(series, grid, start, frozenset({"phase"}))
        _, loss = objective.minimised(CURVE_ITERATIONS, counter.step("thickness curve"))
        curve.append((start.thickness_A, loss))
    return np.array(curve)


def _explained(series: TiltSeries, model: FloatArray, used: IndexArray, held_out: IndexArray) -> float:
    """Fraction of the loss at held-out tilts that the model explains (see :class:`InversionResult`)."""
    data = np.sqrt(series.counts[held_out].clip(0))
    constant = np.sqrt(series.counts[used].clip(0)).mean(axis=0)
    residual = float(((np.sqrt(model[held_out].clip(0)) - data) ** 2).sum(dtype=np.float64))
    return 1 - residual / max(float(((constant - data) ** 2).sum(dtype=np.float64)), 1e-12)


def _check_fits(series: TiltSeries, grid: CrystalGrid, settings: LarbedSettings) -> None:
    slices = math.ceil(settings.thickness_A[1] / settings.slice_A)
    needed = 8.0 * grid.pixels**2 * (4 * len(series.tilts_mrad) + 6 * slices)
    check_fits(needed, f"a series of {len(series.tilts_mrad)} tilts", "leave out reflections, or tilts")
