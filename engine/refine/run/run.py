"""A refinement from data set to result, stage by stage; the steps :func:`refine` calls are in modules of their own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.shares import linear_algebra_on
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import without_drift
from ptylive.engine.refine.data.scan_window import check_room
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.data.start_positions import with_start_positions
from ptylive.engine.refine.problem.forward_options import tilt_from_columns
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.negative_counts import negative_words
from ptylive.engine.refine.problem.prepare import Problem, decide, lay_out, prepare
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again import through_depth
from ptylive.engine.refine.run.again.continuation import DeferredEnd, FinishedRun, RunEnvironment
from ptylive.engine.refine.run.again.drift_afterwards import continued_without_drift, drift_is_tested
from ptylive.engine.refine.run.again.from_columns import FromColumns
from ptylive.engine.refine.run.again.more_epochs import refined_to_length, run_to_length
from ptylive.engine.refine.run.again.other_half_turn import OtherHalfTurn
from ptylive.engine.refine.run.again.second_run import Runners, RunPlan
from ptylive.engine.refine.run.generative import refined_with_prior
from ptylive.engine.refine.run.history import History
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.run.stages import (
    RunRecord,
    StagedResult,
    dataset_after,
    refine_stages,
    with_given_counts,
)
from ptylive.engine.refine.tuning.depth.absorption import with_absorption
from ptylive.engine.refine.tuning.depth.anchor_choice import with_chosen_anchor
from ptylive.engine.refine.tuning.depth.doubted_astigmatism import with_confirmed_astigmatism
from ptylive.engine.refine.tuning.depth.rival_orientations import with_likelier_rival
from ptylive.engine.refine.tuning.depth.told_thickness import with_slices_worth_it
from ptylive.engine.refine.tuning.depth_choice import with_found_depth, with_given_depth, with_half_turn_by_depth
from ptylive.engine.refine.tuning.drift_check import is_open, with_checked_drift
from ptylive.engine.refine.tuning.form_choice import with_chosen_form
from ptylive.engine.refine.tuning.half_turn import start_half_turned
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part
from ptylive.engine.refine.tuning.mode_choice import with_chosen_modes
from ptylive.engine.refine.tuning.optics.confirmed_calibration import with_confirmed_calibration
from ptylive.engine.refine.tuning.optics.freed_optics import with_freed_optics
from ptylive.engine.refine.tuning.optics.settled_modes import with_settled_modes
from ptylive.engine.refine.tuning.optics.skewed_phase import with_atoms_as_peaks
from ptylive.engine.refine.tuning.optics.source_choice import with_chosen_source
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, start_turned
from ptylive.engine.refine.tuning.orientation_search import with_found_orientation
from ptylive.engine.refine.tuning.parameter_search import Tuned, tune
from ptylive.engine.refine.tuning.regime_choice import with_chosen_regime
from ptylive.engine.refine.tuning.scans_apart import without_drifts
from ptylive.engine.refine.tuning.start.columns import with_columns
from ptylive.engine.refine.tuning.start.start_object import with_start
from ptylive.engine.refine.tuning.tilt_search import SEARCH_PATTERNS, expected_patterns, find_tilt, tilted
from ptylive.engine.refine.tuning.tilt_sign import with_doubted_tilts
from ptylive.engine.refine.tuning.warm_start import WarmStart
from ptylive.engine.refine.validation.engine_settings import check_engine
from ptylive.engine.refine.validation.held_out_quality import held_out_quality
from ptylive.engine.refine.validation.prior_settings import check_possible
from ptylive.engine.refine.validation.scan_settings import check_scans
from ptylive.engine.refine.validation.unused_settings import KnownProblem, unused_settings
from ptylive.schema.errors import RefinementError, StoppedError
from ptylive.schema.preset import Preset

ALTERNATIVES = (*through_depth.THICKNESSES, OtherHalfTurn(), FromColumns())
"""Other ways to refine a scan, in the order in which they are tested."""


class Sharing(Protocol):
    """Workers that share the main run (:mod:`ptylive.engine.refine.tiles`); everything before it is done here."""

    def check(self, preset: Preset) -> None:
        """Raise RefinementError, before any work is done, for settings that the workers cannot share."""
        ...

    def refined(
        self, problem: Problem, preset: Preset, observers: Observers, context: TrialContext, *, resume: bool
    ) -> RefineResult:
        """Run the refinement on all workers and return its result."""
        ...


def refine(  # noqa: PLR0913  (the public call: every keyword has a default)
    dataset: Dataset,
    preset: Preset,
    *,
    start: StartGuess | None = None,
    backend: str = "auto",
    threads: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint: Path | None = None,
    resume: bool = False,
    loss_table: Path | None = None,
    history: History | None = None,
    warm: WarmStart | None = None,
    sharing: Sharing | None = None,
    judge: bool = False,
) -> RefineResult:
    """Refine object and probe of a scan by multislice ptychography.

    ``should_stop`` is polled between batches; a stopped run returns its current result and can be resumed from
    ``checkpoint`` on the same trajectory. ``loss_table`` is a CSV file that is kept up to date, ``history`` a folder of
    snapshots. ``warm`` is an object and probe to start from instead of an empty object. ``sharing`` is a set of workers
    that refine together. With ``judge``, the result also states how well the settings predict held-out patterns, for
    comparing runs; with stages, those of the last stage. The stages of the preset are refined one after the other.
    Raises MetadataError for missing optics and RefinementError where the refinement cannot start (no such backend, no
    counts, a checkpoint of other data).
    """
    dataset = with_start_positions(dataset, preset.in_stages()[0].preset.start.start_positions)
    identity = checkpoints.Identity.of(dataset, preset)
    observers = Observers(on_progress, should_stop, checkpoint, identity, loss_table, history=history)
    context = TrialContext(backend, threads, start, _stop_if_requested(should_stop))
    if sharing is not None:
        sharing.check(preset)
    once = partial(_refined, context, _Options(resume, sharing))
    with linear_algebra_on(threads):
        if preset.stages:
            run = refine_stages(dataset, preset, once, observers, warm)
        else:
            record = once(dataset, preset, observers, warm)
            run = StagedResult(record.result, record.preset, dataset_after(dataset, preset, record), preset.patterns)
        return _judged(run, replace(context, tell=_trial_reporter(on_progress))) if judge else run.result


def _judged(run: StagedResult, context: TrialContext) -> RefineResult:
    """Result with its held-out quality if the run finished; a stop during this step loses only the quality."""
    if run.result.state != "done":
        return run.result
    try:
        quality = held_out_quality(selected(run.dataset, run.patterns), run.preset, context)
    except RefinementError:
        return run.result
    return replace(run.result, held_out=quality)


def settle(dataset: Dataset, preset: Preset, context: TrialContext) -> Tuned:
    """Make only the decisions that short trials take before the first epoch; return the preset and how it was found.

    With several stages, these are the decisions before the first stage. Raises as :func:`refine` does, and whatever
    ``context`` raises to interrupt.
    """
    dataset = with_start_positions(dataset, preset.in_stages()[0].preset.start.start_positions)
    dataset, preset = _checked(dataset, preset.in_stages()[0].preset)
    quiet = Observers(lambda progress: None, lambda: False, None, checkpoints.Identity.of(dataset, preset))
    return _settled(RunPlan(dataset, preset), context, None, quiet)


def _checked(dataset: Dataset, preset: Preset) -> tuple[Dataset, Preset]:
    """Return the selected patterns and the settings that apply to them. Raises for incompatible settings."""
    dataset, preset = (
        selected(dataset, preset.patterns),
        with_given_counts(preset).model_copy(update={"sequence": None}),
    )
    check_engine(preset)
    check_scans(dataset, preset)
    if preset.prior.method == "dgp":
        check_possible(preset)
    return dataset, preset


@dataclass(frozen=True)
class _Options:
    """How a refinement is run."""

    resume: bool
    """Continue from the checkpoint if there is one."""
    sharing: Sharing | None
    """Workers to share the run with; None: refine alone."""


def _refined(
    context: TrialContext,
    options: _Options,
    dataset: Dataset,
    preset: Preset,
    observers: Observers,
    warm: WarmStart | None,
) -> RunRecord:
    """One refinement, from data set to result, and another in another way if it leaves far more than noise."""
    alone = options.sharing is None

    def of_scan(plan: RunPlan, watched: Observers) -> RunRecord:
        start = None if plan.decided else context.start
        once = partial(_run_once, replace(context, start=start), options, warm)
        return run_to_length(once, plan, watched, resume=options.resume and alone)

    def of_middle(plan: RunPlan) -> RefineResult:
        options = _Options(resume=False, sharing=None)
        return _run_once(replace(context, start=None), options, None, plan, observers.silent(), None).result

    telling = replace(context, tell=_trial_reporter(observers.on_progress), start=None)
    ways = ALTERNATIVES if alone and warm is None else ()
    runs = Runners(of_middle, of_scan)
    return refined_to_length(RunPlan(dataset, preset), ways, observers, telling, runs, resume=options.resume)


def _run_once(
    context: TrialContext,
    options: _Options,
    warm: WarmStart | None,
    plan: RunPlan,
    observers: Observers,
    epochs: int | None,
) -> RunRecord:
    """One run, and its continuation with another drift removed, up to ``epochs`` if they are given."""
    sharing = options.sharing
    path, identity = observers.checkpoint, replace(observers.identity, epochs=plan.preset.solver.epoch_max)
    observers = replace(observers, identity=identity)
    saved = checkpoints.load(path, identity) if path is not None and options.resume and sharing is None else None
    context = replace(context, tell=_trial_reporter(observers.on_progress))
    dataset, preset = _checked(plan.dataset, plan.preset)
    if sharing is None:
        check_room(dataset, preset.patterns)
    tuned = _settled(replace(plan, dataset=dataset, preset=preset), context, warm, observers)
    context = _context_of(tuned, context)
    warm = warm.half_turned() if warm is not None and tuned.half_turn else warm
    tuned = without_drifts(tuned, context)
    tuned = with_doubted_tilts(tuned, context) if warm is None else tuned
    tuned, context, measured = _drift_checked(tuned, context, may_turn=warm is None)
    if warm is None:
        tuned, context, measured = _with_optics(tuned, context, measured)
        tuned = with_confirmed_calibration(tuned, replace(context, warm_start=None))
    context.forget()
    strategy = decide(measured, tuned.preset, has_start=context.start is not None)
    problem = lay_out(measured, strategy, tuned.preset, context.start)
    known = KnownProblem.of(tuned.preset, problem, continues=warm is not None)
    words = (*tuned.words, *negative_words(dataset), *unused_settings(preset, known))
    begin = partial(with_start, settings=preset.start, warm_start=warm or tuned.warm_start)
    problem = begin(problem.with_findings(tuned.curves, words, tilt_found=tuned.tilt_found))
    if saved is not None and saved.state.vector.shape != problem.start.shape:
        raise RefinementError("the checkpoint has other slices or probe modes", "start without --resume")
    if sharing is not None:
        return RunRecord.of(
            sharing.refined(problem, preset, observers, context, resume=options.resume), tuned, problem.measured
        )
    drift_tested = drift_is_tested(measured, tuned.dataset, tuned.preset)
    end = DeferredEnd(observers.on_progress)
    observers = replace(observers, on_progress=end) if drift_tested else observers
    with closing(open_backend(context.backend, problem.multislice, context.threads)) as engine:
        if preset.prior.method == "dgp":
            result = refined_with_prior(problem, preset, engine, observers, context, saved)
            return RunRecord.of(result, tuned, problem.measured)
        run, measured = Refinement(problem, preset, engine, observers, context), problem.measured
        saved_state = [saved]
        del problem, saved  # the start takes as much memory as the object; free it once the run has moved on
        result = run.run(saved_state.pop())
        first = FinishedRun.of(run, result, engine, tuned.dataset, begin) if drift_tested else None
    if first is None:
        end.release()
        return RunRecord.of(result, tuned, measured)
    environment = RunEnvironment(tuned.preset, observers, context, options.resume)
    corrected = continued_without_drift(first, environment, end, epochs=epochs)
    record = RunRecord.of(corrected.result, corrected.tuned(tuned), corrected.measured)
    return replace(record, continued=corrected.continued)


def _settled(plan: RunPlan, context: TrialContext, warm: WarmStart | None, observers: Observers) -> Tuned:
    """Data set and preset with the decisions of short trials: calibration, depth, regime, probe modes, slice tilt."""
    preset = plan.preset
    tuned = Tuned(plan.dataset, with_given_depth(plan.dataset, preset), words=plan.words)
    if plan.decided:
        tuned = replace(tuned, half_turn_settled=True, warm_start=plan.columns)
    elif warm is None:
        tuned = with_found_orientation(with_likelier_rival(tuned, context), context)
        tuned = with_confirmed_astigmatism(tuned, context)
        if not plan.turned_by_depth:
            tuned = with_atoms_as_peaks(tuned, _context_of(tuned, context))
    before = with_half_turn_by_depth(tuned, _context_of(tuned, context))
    tuned = tune(before, _context_of(before, context))
    tuned = with_slices_worth_it(tuned, before, preset, _context_of(tuned, context))
    if tuned.preset.object.num_slices == "auto":
        tuned = with_found_depth(tuned, _context_of(tuned, context))
    elif before.preset.object.slices == 1:
        tuned = with_absorption(tuned, _context_of(tuned, context))
    elif warm is None and tuned.warm_start is None:
        tuned = with_columns(tuned, _context_of(tuned, context))
    context = _context_of(tuned, context)
    tuned = with_chosen_regime(tuned, context)
    tuned = with_chosen_form(tuned, context)
    modes = None if warm is None else warm.modes
    preset, choice = with_chosen_modes(tuned.dataset, tuned.preset, context, modes)
    tuned = replace(tuned, preset=preset, words=tuned.words if choice is None else (*tuned.words, choice.reason))
    if warm is None:
        tuned = with_settled_modes(tuned, choice, context)
        tuned = with_chosen_source(tuned, context)
    tuned = with_chosen_anchor(tuned, context)
    preset, thick = tuned.preset, preset.object.slices > 1
    if not thick or warm is not None or not tilt_from_columns(preset.propagation, preset.refined):
        return tuned
    context.tell("the tilt of columns")
    middle = central_part(tuned.dataset, SEARCH_PATTERNS)
    preliminary = partial(_preliminary_run, middle, context, observers.silent())
    return replace(tuned, preset=find_tilt(preset, preliminary), tilt_found=True)


def _context_of(tuned: Tuned, context: TrialContext) -> TrialContext:
    """Context with its start turned by the half turn found; under another orientation the start is dropped."""
    context = context if tuned.orientation is None else replace(context, start=None)
    context = replace(context, warm_start=tuned.warm_start)
    return replace(context, start=start_half_turned(context.start)) if tuned.half_turn else context


def _drift_checked(tuned: Tuned, context: TrialContext, *, may_turn: bool) -> tuple[Tuned, TrialContext, Measurement]:
    """Remove a drift that the trials agree on, and turn the scan if they find that the rotation was fitted to it."""
    measured = context.cache.measure(tuned.dataset, tuned.preset)
    corrected, measured = with_checked_drift(measured, tuned, context, may_turn=may_turn)
    before, after = (state.orientation or AS_IT_IS for state in (tuned, corrected))
    turn_deg = after.turn_deg - before.turn_deg
    if turn_deg:
        corrected = replace(corrected, warm_start=None)
    context = replace(context, start=start_turned(context.start, turn_deg), warm_start=corrected.warm_start)
    return corrected, context, measured


def _with_optics(tuned: Tuned, context: TrialContext, measured: Measurement) -> tuple[Tuned, TrialContext, Measurement]:
    """Add optics that nobody stated and that trials refine, on positions corrected for a drift found before.

    A shear of the scan looks like astigmatism, and vice versa. A drift that held-out patterns confirm therefore comes
    first; without one, drift is looked for once more under the optics that were found. If the lattice showed a drift
    that was left alone, the astigmatism may be due to it, and is determined once more together with it.
    """
    drift = measured.drift
    applied = drift if drift is not None and drift.applied else None
    placed = tuned if applied is None else replace(tuned, dataset=without_drift(tuned.dataset, applied))
    freed = with_freed_optics(placed, context)
    if freed.dataset is placed.dataset:
        return replace(tuned, words=freed.words), context, measured
    found = replace(freed, dataset=replace(tuned.dataset, calibration=freed.dataset.calibration))
    if applied is None:
        if drift is not None and is_open(drift, tuned.preset):
            doubted = found.dataset.calibration.with_astigmatism_doubted()
            found = replace(found, dataset=replace(found.dataset, calibration=doubted))
        return _drift_checked(found, context, may_turn=True)
    plain = found.preset.model_copy(update={"refine_drift": False})
    remeasured = context.cache.measure(without_drift(found.dataset, applied), plain)
    return found, context, replace(remeasured, drift=applied)


def _preliminary_run(
    dataset: Dataset, context: TrialContext, observers: Observers, preset: Preset, like: RefineResult | None
) -> RefineResult | None:
    """A preliminary refinement of the patterns, or of patterns simulated from ``like`` (None if it cannot be)."""
    preset = preset.model_copy(update={"refine_drift": False})  # the middle alone cannot establish a drift
    problem = prepare(dataset, preset, context.start)
    if like is not None:
        expected = expected_patterns(prepare(dataset, tilted(preset, like), context.start), like)
        if expected is None:
            return None
        counted = np.random.default_rng(preset.solver.seed).poisson(expected).astype(np.float32)
        problem = replace(problem, multislice=replace(problem.multislice, patterns=counted))
    with closing(open_backend(context.backend, problem.multislice, context.threads)) as engine:
        return Refinement(problem, preset, engine, observers).run(None)


def _stop_if_requested(should_stop: Callable[[], bool]) -> Callable[[], None]:
    """Pause callback for the trials before the run: with no result yet, a stop is reported as an error."""

    def pause() -> None:
        if should_stop():
            raise StoppedError("stopped on request before the refinement began")

    return pause


def _trial_reporter(on_progress: Callable[[Progress], None]) -> Callable[[str], None]:
    """Return a callback that reports the current trial as progress while there are no epochs to count."""
    started = time.monotonic()

    def report(trial: str) -> None:
        seconds = time.monotonic() - started
        on_progress(Progress("running", "trial", 0, 1, math.nan, seconds, math.nan, 0.0, f"trying {trial}"))

    return report
