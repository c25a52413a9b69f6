"""A refinement from data set to result, stage by stage; the steps :func:`refine` calls are in modules of their own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.shares import linear_algebra_on
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.data.start_positions import with_start_positions
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again import through_depth
from ptylive.engine.refine.run.again.continuation import DeferredEnd, FinishedRun, RunEnvironment
from ptylive.engine.refine.run.again.drift_afterwards import continued_without_drift, drift_is_tested
from ptylive.engine.refine.run.again.from_columns import FromColumns
from ptylive.engine.refine.run.again.more_epochs import refined_to_length, run_to_length
from ptylive.engine.refine.run.again.other_half_turn import OtherHalfTurn
from ptylive.engine.refine.run.again.second_run import Runners, RunPlan
from ptylive.engine.refine.run.before.decisions import checked, decided, settled
from ptylive.engine.refine.run.before.drift_of_short_runs import without_drift_of_short_runs
from ptylive.engine.refine.run.generative import refined_with_prior
from ptylive.engine.refine.run.history import History
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.run.stages import (
    RunRecord,
    StagedResult,
    dataset_after,
    refine_stages,
)
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.engine.refine.validation.held_out_quality import held_out_quality
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
    dataset, preset = checked(dataset, preset.in_stages()[0].preset)
    quiet = Observers(lambda progress: None, lambda: False, None, checkpoints.Identity.of(dataset, preset))
    return settled(RunPlan(dataset, preset), context, None, quiet)


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


class _Begun(NamedTuple):
    """A run that is ready for its first epoch."""

    problem: Problem
    preset: Preset
    """Settings that apply to it, as they were given."""
    tuned: Tuned
    begin: Callable[[Problem], Problem]
    """Give a problem on other positions the start that this one has."""
    saved: checkpoints.Checkpoint | None
    """State to continue from."""
    searched: bool
    """Whether short runs have looked for a drift."""
    environment: RunEnvironment


def _run_once(
    context: TrialContext,
    options: _Options,
    warm: WarmStart | None,
    plan: RunPlan,
    observers: Observers,
    epochs: int | None,
) -> RunRecord:
    """One run, and its continuation with another drift removed, up to ``epochs`` if they are given."""
    problem, preset, tuned, begin, saved, searched, environment = _begun(context, options, warm, plan, observers)
    observers, context = environment.observers, environment.context
    if saved is not None and saved.state.vector.shape != problem.start.shape:
        raise RefinementError(
            "the checkpoint was made with another number of slices or probe modes", "start without --resume"
        )
    if options.sharing is not None:
        result = options.sharing.refined(problem, preset, observers, context, resume=options.resume)
        return RunRecord.of(result, tuned, problem.measured)
    drift_tested = drift_is_tested(problem.measured, tuned.dataset, tuned.preset)
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
    environment = replace(environment, observers=observers)
    corrected = continued_without_drift(first, environment, end, epochs=epochs, searched=searched)
    record = RunRecord.of(corrected.result, corrected.tuned(tuned), corrected.measured)
    return replace(record, continued=corrected.continued)


def _begun(
    context: TrialContext, options: _Options, warm: WarmStart | None, plan: RunPlan, observers: Observers
) -> _Begun:
    """Make the decisions before a run and, if it is alone and starts from nothing, look for a drift by short runs."""
    path, identity = observers.checkpoint, replace(observers.identity, epochs=plan.preset.solver.epoch_max)
    observers, alone = replace(observers, identity=identity), options.sharing is None
    saved = checkpoints.load(path, identity) if path is not None and options.resume and alone else None
    context = replace(context, tell=_trial_reporter(observers.on_progress))
    problem, preset, tuned, context, begin = decided(context, warm, plan, observers, alone=alone)
    keeps = {"keeps_rotation": warm is not None and warm.frame_is_given, "keeps_optics": warm is not None}
    environment = RunEnvironment(tuned.preset, observers, context, options.resume, **keeps)
    if not alone or warm is not None:  # an earlier object lies under its own positions
        return _Begun(problem, preset, tuned, begin, saved, False, environment)
    without = without_drift_of_short_runs(problem, tuned, environment, begin, saved)
    observers = replace(observers, identity=replace(identity, searched=without.searched))
    environment = replace(environment, observers=observers, context=without.context)
    return _Begun(without.problem, preset, without.tuned, begin, saved or without.state, without.searched, environment)


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
