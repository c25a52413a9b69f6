"""Choice of loss, object form, probe and steps: the preset's ``auto`` values decided from pattern statistics.

There are three regimes (docs/refinement.md): thin specimens between vacuum, thick ones, and weak contrast at low dose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np

from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS
from ptylive.engine.backend.multislice.problem import CoefficientTermKind, DataTermKind, PythonTerm
from ptylive.engine.plugins import at_work
from ptylive.engine.refine.data.pattern_statistics import PatternStatistics
from ptylive.engine.refine.data.start_probe import Coherence
from ptylive.engine.refine.data_terms.registry import python_term
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.engines.rule import PublishedSettings
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.problem.batches import LEAST_BATCHES, quiet_batch, step_of
from ptylive.engine.refine.problem.few_electrons import (
    COUNTING,
    FEW_ANCHOR,
    MANY_ELECTRONS_PER_A2,
    NOISE_SPREAD,
    are_few,
)
from ptylive.engine.refine.solvers.sweeps import MOST_SWEEPS
from ptylive.schema.advice.words import dose_text
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset.loss import LossSettings
from ptylive.schema.preset.object import ObjectSettings
from ptylive.schema.preset.probe import ProbeSettings
from ptylive.schema.preset.solver import SolverSettings
from ptylive.schema.preset.start import StartSettings

LOW_DOSE_E_PER_A2 = 200.0
"""Dose below which one slice is a beam-sensitive weak phase object, unless trials decide otherwise."""
MAP_DOSE_E_PER_A2 = 3000.0
"""Dose below which the linear map is nearly the best result: it is refined in small steps unless trials object."""
LBFGS_SHARE = 1 / 3  # of a given number of epochs, unless the number of sweeps is given too
FURTHER_EPOCHS, FREER_EPOCHS = 30, 21
"""Maximum number of further epochs if the loss has not settled and their number was left open: for one slice, and for
several slices whose anchor is below the regime's, which takes longer because it permits more."""
SMALLEST_FLOOR = 1e-4  # least counts of a pixel in a floor or a curvature: they are divided by
BACKGROUND = 0.6
"""Share of the mean dark-field counts used as a flat background: thermal and inelastic scattering, detector noise."""
SLOW_PROBE_STEP = 0.05
"""Probe step of a thin specimen up to ``MANY_ELECTRONS_PER_A2``, rising in proportion beyond it up to the regime's: a
probe refined faster from few electrons absorbs errors of the positions."""
PEAK = 1.5  # approximate ratio of the largest counts of a bright-field pixel to their mean
USUAL_SOURCE_A = 0.3
"""Source size for probe modes if nobody gave it and no trial decides otherwise."""
FOUR_MODES, ONE_MODE = Coherence(4, 0.0, 0.0), Coherence(1, 0.0, 0.0)
"""Probe modes before source size and focal spread are filled in from the settings."""

_T = TypeVar("_T")


class Regime(StrEnum):
    """Default settings for thin specimens."""

    THIN = "thin"
    WEAK = "weak"


@dataclass(frozen=True)
class Strategy:
    """Everything the solvers need, with no ``auto`` left."""

    reason: str
    """Reason for the choices, in one sentence."""
    regime: Regime
    data_term: str
    """Description of the data term, if the preset leaves it open."""
    kind: DataTermKind | CoefficientTermKind | PythonTerm
    offset: float
    """Counts: c of lsq_sqrt, or the floor of ml."""
    curvature_scale: float
    """Curvature of the data term relative to that of lsq_sqrt."""
    object_form: ObjectForm
    non_negative: bool
    bright_field_only: bool
    coherence: Coherence
    start_from_map: bool
    sweeps: int
    probe_sweeps: int
    epochs: int
    batch_size: int
    sweep_step: float
    probe_step: float
    anchor: float
    """Pull of L-BFGS towards the sweeps' result, as a share of the curvature."""
    trial_batch: int = 0
    trial_step: float = 0.0
    """Step of short trials, which have to converge far in few sweeps."""
    more_epochs: int = 0
    """Maximum number of epochs for which L-BFGS continues while the loss still falls."""
    spared_epochs: int = 0
    """Number of epochs that are left out because an earlier refinement, from which this one starts, made them."""

    @property
    def algorithm(self) -> str:
        """Data term in the terms of the preset."""
        term = PIXEL_TERMS[self.kind] if isinstance(self.kind, DataTermKind) else self.kind
        constant = "" if isinstance(term, CoefficientTermKind) else term.constant
        return f"{self.kind}, {constant} {self.offset:.3g} counts" if constant else str(self.kind)


def choose(
    form: ObjectSettings,
    probe: ProbeSettings,
    loss: LossSettings,
    solver: SolverSettings,
    start: StartSettings,
    statistics: PatternStatistics,
    *,
    has_start: bool,
) -> Strategy:
    """Choose the strategy for settings and measured statistics; given values always take precedence."""
    thick = form.slices > 1
    engine = PUBLISHED.get(solver.optimizer)
    strategy = _of_regime(form, solver.regime, statistics, has_start)
    if engine is not None:
        strategy = _as_published(strategy, solver.optimizer)
        loss = loss.model_copy(update={"algorithm": "lsq_sqrt"}) if loss.algorithm == "auto" else loss
    strategy = _with_data_term(strategy, loss, statistics, slower=0.5 if thick else 1.0)
    strategy = strategy if engine is None else _with_steps_of(strategy, engine, solver)
    if solver.early_stop:  # the sweeps end automatically
        strategy = replace(strategy, epochs=strategy.epochs - strategy.sweeps + MOST_SWEEPS, sweeps=MOST_SWEEPS)
    epochs, sweeps = _epochs_and_sweeps(solver, strategy, published=engine is not None)
    strategy = _with_batches(strategy, solver, statistics, thick=thick) if engine is None else strategy
    object_form = _object_form(form, strategy)
    modes = _given(probe.probe_modes, strategy.coherence.modes)
    return replace(
        strategy,
        object_form=object_form,
        non_negative=object_form is not ObjectForm.COMPLEX and _given(form.non_negative_phase, strategy.non_negative),
        bright_field_only=_given(loss.bright_field_only, strategy.bright_field_only),
        coherence=Coherence(modes, _given(probe.source_size_A, USUAL_SOURCE_A), probe.focal_spread_A),
        start_from_map=has_start and _given(start.start_from_map, strategy.start_from_map),
        sweeps=sweeps,
        probe_sweeps=min(_given(solver.probe_sweeps, strategy.probe_sweeps), sweeps),
        epochs=epochs,
        probe_step=_given(solver.probe_step, strategy.probe_step),
        anchor=_given(solver.anchor, strategy.anchor if sweeps else 0.0),
        more_epochs=_more_epochs(form, solver, strategy) if engine is None else 0,
    )


def _epochs_and_sweeps(solver: SolverSettings, strategy: Strategy, *, published: bool) -> tuple[int, int]:
    """Number of all epochs, and of the sweeps among them; a published engine has no L-BFGS after its own epochs."""
    epochs = _given(solver.epoch_max, strategy.epochs)
    if published:
        return epochs, epochs
    most = epochs if isinstance(solver.epoch_max, str) else math.floor(epochs * (1 - LBFGS_SHARE))
    return epochs, min(_given(solver.sweeps, min(strategy.sweeps, most)), epochs)


def _more_epochs(form: ObjectSettings, solver: SolverSettings, strategy: Strategy) -> int:
    if not isinstance(solver.epoch_max, str):
        return 0
    if form.slices == 1:
        return FURTHER_EPOCHS
    return FREER_EPOCHS if _given(solver.anchor, strategy.anchor) < strategy.anchor else 0


def _as_published(strategy: Strategy, name: str) -> Strategy:
    """Strategy with the choices of a named engine: a complex object, the amplitudes of the whole pattern."""
    return replace(
        strategy,
        reason=f"optimizer={name} as published ({strategy.reason})",
        kind=DataTermKind.AMPLITUDE,
        offset=0.0,
        object_form=ObjectForm.COMPLEX,
        non_negative=False,
        bright_field_only=False,
        start_from_map=False,
        probe_sweeps=0,
        anchor=0.0,
    )


def _with_steps_of(strategy: Strategy, engine: PublishedSettings, solver: SolverSettings) -> Strategy:
    """Strategy with the epochs, batches and steps of a named engine, the same in trials as in the run."""
    batch, step = _given(solver.batch_size, engine.batch_size), _given(solver.sweep_step, engine.object_step)
    return replace(
        strategy,
        epochs=engine.epochs,
        batch_size=batch,
        sweep_step=step,
        trial_batch=batch,
        trial_step=step,
        probe_step=engine.probe_step,
    )


def _with_batches(
    strategy: Strategy, solver: SolverSettings, statistics: PatternStatistics, *, thick: bool
) -> Strategy:
    """Strategy with batches and object steps for this scan; trials keep the usual batches, to converge in few sweeps.

    One thin slice is refined in larger batches in a large scan, and in still larger ones from few electrons.
    """
    thin = strategy.regime is Regime.THIN and not thick
    usual = max(strategy.batch_size, statistics.patterns // LEAST_BATCHES if thin else 0)
    quiet = quiet_batch(statistics) if thin else 0
    batch, in_trials = _given(solver.batch_size, max(usual, quiet)), _given(solver.batch_size, usual)
    step, trial_step = (step_of(strategy.sweep_step, size, usual, statistics.patterns) for size in (batch, in_trials))
    return replace(
        strategy,
        batch_size=batch,
        sweep_step=_given(solver.sweep_step, step),
        trial_batch=in_trials,
        trial_step=_given(solver.sweep_step, trial_step),
    )


def _with_data_term(
    strategy: Strategy, settings: LossSettings, statistics: PatternStatistics, *, slower: float
) -> Strategy:
    """Strategy with the requested data term, and the batches and steps that suit it.

    slower: factor on the steps if the curvature has no bound.
    """
    algorithm: str = settings.algorithm
    if algorithm == "auto":  # only lsq_sqrt has an offset
        algorithm = str(strategy.kind) if isinstance(settings.loss_offset, str) else "lsq_sqrt"
        strategy = replace(strategy, reason=f"{strategy.reason}; {algorithm} with {strategy.data_term}")
    else:
        strategy = replace(strategy, reason=f"{strategy.reason}; {algorithm}")
    if algorithm == "lsq_sqrt":
        return replace(strategy, kind=DataTermKind.AMPLITUDE, offset=_given(settings.loss_offset, strategy.offset))
    if algorithm not in list(DataTermKind):
        return _with_python_term(strategy, settings, statistics, slower=slower)
    kind = DataTermKind(algorithm)
    strategy = replace(strategy, kind=kind, offset=0.0)
    if kind is DataTermKind.INTENSITY:  # d2 (I - D)^2 / d|psi|^2 = 8 I
        return replace(strategy, curvature_scale=4 * PEAK * statistics.bright_counts)
    strategy = replace(strategy, batch_size=128, sweep_step=strategy.sweep_step * slower)  # D / I has no bound
    if kind is DataTermKind.CHI_SQUARED:
        return replace(strategy, curvature_scale=2.0)
    if kind is not DataTermKind.POISSON:
        raise KeyError(kind)
    return replace(strategy, offset=_given(settings.loss_floor, background_counts(statistics)))


def _with_python_term(
    strategy: Strategy, settings: LossSettings, statistics: PatternStatistics, *, slower: float
) -> Strategy:
    """The same for a data term of which only the curvature is known. Raises RefinementError for an impossible one."""
    term = python_term(settings.algorithm)
    constants = {
        "loss_offset": _given(settings.loss_offset, strategy.offset),
        "loss_floor": _given(settings.loss_floor, background_counts(statistics)),
    }
    offset = constants.get(term.constant, 0.0)
    # d2 L / d|psi|^2 = 4 I d2 L / dI^2 at a fit, and 2 for lsq_sqrt
    counts = np.array([max(statistics.dark_counts, SMALLEST_FLOOR), PEAK * statistics.bright_counts]) + offset
    with at_work(term.curvature):
        scale = float((2 * counts * term.curvature(counts)).max())
    if not 0 < scale < math.inf:
        raise RefinementError(f"the data term {term} has a curvature of {scale:g}", "it must be above 0 and finite")
    return replace(
        strategy,
        kind=term,
        offset=offset,
        curvature_scale=scale,
        batch_size=128,
        sweep_step=strategy.sweep_step * slower,
    )


def for_counts(strategy: Strategy, solver: SolverSettings, statistics: PatternStatistics) -> Strategy:
    """Strategy of one slice with the anchor and the probe step that suit the likelihood of counts.

    Least squares of amplitudes pull faint features to zero, and keep the anchor that prevents it.
    """
    if strategy.kind is not DataTermKind.POISSON or solver.optimizer in PUBLISHED:
        return strategy
    dose_factor = max(statistics.dose_e_per_A2 / MANY_ELECTRONS_PER_A2, 1.0)
    slow = min(SLOW_PROBE_STEP * dose_factor, strategy.probe_step)
    return replace(
        strategy,
        anchor=_given(solver.anchor, strategy.anchor / dose_factor),
        probe_step=_given(solver.probe_step, slow if strategy.regime is Regime.THIN else strategy.probe_step),
    )


def background_counts(statistics: PatternStatistics) -> float:
    """Counts per pixel assigned to a flat background if none are given."""
    return max(BACKGROUND * statistics.dark_counts, SMALLEST_FLOOR)


def _object_form(settings: ObjectSettings, strategy: Strategy) -> ObjectForm:
    if settings.weakly_damped_obj:
        return ObjectForm.DAMPED
    if isinstance(settings.phase_only_obj, str):
        return strategy.object_form
    return ObjectForm.PHASE if settings.phase_only_obj else ObjectForm.COMPLEX


def _given(value: _T | str, otherwise: _T) -> _T:
    """The preset's value, or that of the regime if the preset says ``auto``."""
    return otherwise if isinstance(value, str) else value


def _of_regime(form: ObjectSettings, requested: str, statistics: PatternStatistics, has_start: bool) -> Strategy:
    """Defaults for several slices, or for one of either regime: thin, thick and weak in docs/refinement.md."""
    dose = dose_text(statistics.dose_e_per_A2)
    if form.slices > 1:
        reason = f"{form.slices} slices: {form.words('complex')} object"
        thick = _thick(statistics, reason, "an offset of three times the dark-field counts")
        return _of_few_electrons(thick, statistics, has_start) if are_few(statistics) else thick
    moderate = statistics.dose_e_per_A2 < MAP_DOSE_E_PER_A2
    few = statistics.dose_e_per_A2 < LOW_DOSE_E_PER_A2
    smeared = moderate and statistics.noise_spread > NOISE_SPREAD
    why = f"moderate dose ({dose}) and a live map" if moderate and has_start else ""
    if few:
        why = f"low dose ({dose})"
    elif smeared:
        why = f"noise of neighbouring pixels correlated ({statistics.noise_spread:.2f}), {dose}"
    if requested == Regime.WEAK or (requested == "auto" and why):
        weak = _weak(statistics, why or dose, has_start)
        return weak if few or smeared else replace(weak, coherence=FOUR_MODES)
    bound = " at or above vacuum" if form.phase_only_obj is not False and form.non_negative_phase is not False else ""
    return _thin(statistics, f"one slice at {dose}: {form.words('phase')} object{bound}")


def _thin(statistics: PatternStatistics, reason: str) -> Strategy:
    counted = statistics.counting_share > COUNTING
    return Strategy(
        reason=reason,
        regime=Regime.THIN,
        data_term=f"a flat background of {BACKGROUND} times the dark-field counts" if counted else "a small offset",
        kind=DataTermKind.POISSON if counted else DataTermKind.AMPLITUDE,
        offset=0.2 * statistics.dark_counts,
        curvature_scale=1.0,
        object_form=ObjectForm.PHASE,
        non_negative=True,
        bright_field_only=False,
        coherence=FOUR_MODES,
        start_from_map=False,
        sweeps=8,
        probe_sweeps=0,
        epochs=14,
        batch_size=128,
        sweep_step=0.5,
        probe_step=0.1,
        anchor=0.1,
    )


def _thick(statistics: PatternStatistics, reason: str, data_term: str) -> Strategy:
    return replace(
        _thin(statistics, reason),
        data_term=data_term,
        kind=DataTermKind.AMPLITUDE,
        offset=3.0 * statistics.dark_counts,
        object_form=ObjectForm.COMPLEX,
        non_negative=False,
        sweeps=5,
        epochs=20,
        batch_size=32,
    )


def _of_few_electrons(thick: Strategy, statistics: PatternStatistics, has_start: bool) -> Strategy:
    """Several slices by the likelihood, held close to the sweeps; started from the map where one slice would be."""
    thin, from_map = _thin(statistics, thick.reason), statistics.dose_e_per_A2 < MAP_DOSE_E_PER_A2
    why = f"{thick.reason}, few electrons" + (", started from the live map" if from_map and has_start else "")
    return replace(
        thick, reason=why, data_term=thin.data_term, kind=thin.kind, start_from_map=from_map, anchor=FEW_ANCHOR
    )


def _weak(statistics: PatternStatistics, why: str, has_start: bool) -> Strategy:
    start = "started from the live map" if has_start else "no live map to start from, low frequencies converge slowly"
    return replace(
        _thin(statistics, f"{why}: weak phase object, bright field only, small steps, {start}"),
        regime=Regime.WEAK,
        data_term="a large offset",
        kind=DataTermKind.AMPLITUDE,
        offset=1.4 * statistics.bright_counts,
        non_negative=False,
        bright_field_only=True,
        coherence=ONE_MODE,
        start_from_map=True,
        sweeps=6,
        probe_sweeps=2,
        epochs=9,
        batch_size=64,
        sweep_step=0.1 if has_start else 0.5,
        probe_step=0.5,
        anchor=0.3,
    )
