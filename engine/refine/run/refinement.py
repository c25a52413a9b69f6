"""A refinement from start to end: sweeps, then L-BFGS, with progress reports, stopping and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import Phase, Progress, RefineResult, State
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.by_name import engine_of
from ptylive.engine.refine.run.convergence import convergence, held_out_of
from ptylive.engine.refine.run.course import Course, CoursePlan
from ptylive.engine.refine.run.epoch_schedule import EpochSchedule
from ptylive.engine.refine.run.history import History
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.outcome import Outcome
from ptylive.engine.refine.run.preview import build_preview
from ptylive.engine.refine.solvers.lbfgs import LbfgsState
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.start.goodness_of_fit import LikelihoodLeft, likelihood_left
from ptylive.engine.refine.validation.phase_deviation import EndOfRun, phase_deviation
from ptylive.schema.errors import PtyliveError, RefinementError
from ptylive.schema.model import IndexArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

PREVIEW_SECONDS, REPORT_SECONDS, CHECKPOINT_SECONDS = 0.5, 0.25, 10.0
"""Least time between two previews of the object, two reports of progress within an epoch, and two checkpoints."""


class StopRequested(Exception):
    """Raised when a stop of the refinement was requested."""


@dataclass(frozen=True)
class Observers:
    """Callbacks for progress and stop requests, and the files that are written during a run."""

    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    """Whether a stop is requested; polled between batches."""
    checkpoint: Path | None
    """Where the state is saved to be resumed; None: nowhere."""
    identity: checkpoints.Identity
    """Data and settings that a checkpoint belongs to."""
    loss_table: Path | None = None
    """CSV file of the loss of every epoch."""
    earlier: tuple[Log, ...] | None = None
    """Logs of the preceding stages, for the loss table; None: the run has no stages."""
    history: History | None = None
    """Folder of snapshots for a film."""

    @property
    def epochs_before(self) -> int:
        """Number of epochs in the preceding stages."""
        return sum(len(log.losses) for log in self.earlier or ())

    def silent(self) -> Observers:
        """Return observers that can stop a run as these do, but get no reports and write no files."""
        return replace(self, on_progress=lambda progress: None, checkpoint=None, loss_table=None, history=None)


class Refinement:
    """One run: the solvers in turn, and the bookkeeping of progress and time."""

    def __init__(
        self,
        problem: Problem,
        preset: Preset,
        backend: MultisliceBackend,
        observers: Observers,
        context: TrialContext | None = None,
        held: tuple[IndexArray, ...] = (),
    ) -> None:
        """``context``: where the phase deviation of the result is computed; None: it is not computed.

        ``held``: groups of patterns to hold out in any case.
        """
        self._start = [problem.start]
        problem = replace(problem, start=problem.start[:0].copy())  # as large as the object; needed for one step only
        self._problem, self._preset, self._backend, self._observers = problem, preset, backend, observers
        self._context = context
        strategy = problem.strategy
        objective = Objective(
            backend,
            on_device(problem.layout, backend.xp),
            problem.multislice.count,
            move_object=preset.refined.update_obj,
            move_probe=preset.refined.update_probe,
            curvature_scale=strategy.curvature_scale,
            terms=on_device(problem.terms, backend.xp),
            pause=partial(_raise_if_requested, observers.should_stop),
        )
        plan = CoursePlan.of(strategy, preset.solver, open_end=not preset.schedules)
        self._course = Course.of(plan, objective, problem.multislice.corners[:, 0])
        if preset.solver.optimizer in ENGINES:
            self._course = replace(self._course, sweeps=engine_of(problem, preset.solver, objective))
        self._schedule, self._started_epoch = EpochSchedule(preset, problem), -1
        self._schedule.check(strategy.epochs)
        self._log = Log(spared=strategy.spared_epochs)
        now = time.monotonic()
        self._epoch_start, self._last_report, self._last_preview, self._last_checkpoint = now, -math.inf, -math.inf, now
        self._message = ""
        self._groups: tuple[IndexArray, ...] = ()
        """Groups of patterns that are held out."""
        self._requested_groups = held
        self.vector: Any = None
        """(n,) parameters at the end of :meth:`run`, on the backend's device."""
        self._unwritten: dict[Path, str] = {}
        """Files whose last write failed, and why."""

    @property
    def problem(self) -> Problem:
        """The refined problem, without its start vector."""
        return self._problem

    @property
    def log(self) -> Log:
        """Log of the epochs completed so far."""
        return self._log

    def run(self, saved: checkpoints.Checkpoint | None) -> RefineResult:
        """Run to the end, from a saved state if one is given; may be called once."""
        state, earlier = self._begun(saved), None if saved is None else self._log
        del saved  # frees its L-BFGS pairs as newer ones replace them
        outcome: State = "done"
        try:
            while not self._course.finished(state):
                state = self._advance(state)
        except StopRequested:
            outcome = "stopped"
            self._add_words("stopped on request")
        wrong = self._course.problem_of(state, len(self._log.losses), stopped=outcome == "stopped")
        if wrong:
            outcome = "failed"
            self._add_words(wrong)
        at_rest = isinstance(state, LbfgsState) and state.converged
        trend = convergence(self._log, sum(map(len, self._groups)), at_rest=at_rest) if outcome == "done" else None
        if trend is not None:
            self._add_words(trend.sentence)
        self._save(state)
        if isinstance(state, LbfgsState):
            state = replace(state, pairs=())  # most of a run's memory, needed by the remaining steps
        self.vector = state.vector
        deviation = self._phase_deviation(state)
        if self._unwritten:
            self._add_words(self._warning)
        self._report(state, outcome, force=True, deviation=deviation)
        result = replace(self._result(state, outcome), phase_deviation=deviation, convergence=trend)
        left = self._likelihood_left(state) if outcome == "done" else None
        if left is not None:
            result = replace(result, likelihood_over_noise=left.over_noise, model_error=left.model_error)
        return replace(result, unchanged=outcome == "done" and self._log == earlier)

    def first_epochs(self, count: int) -> checkpoints.Checkpoint:
        """Run the first epochs only; return the state that :meth:`run` of another continues from, on any backend.

        May be called once, instead of :meth:`run`. Raises StopRequested.
        """
        state = self._begun(None)
        while len(self._log.losses) < count and not self._course.finished(state):
            state = self._advance(state)
        return checkpoints.Checkpoint(checkpoints.on_processor(state), self._log, self._message)

    def _begun(self, saved: checkpoints.Checkpoint | None) -> checkpoints.SolverState:
        """The first state, or a saved one, with patterns held out."""
        xp = self._backend.xp
        state: checkpoints.SolverState = self._course.sweeps.init(xp.asarray(self._start.pop()))
        if saved is not None:
            state, self._log, self._message = on_device(saved.state, xp), saved.log, saved.note
            self._course = self._course.continuing(state, self._log)
        self._hold_out()
        self._report(state, "running", force=True)
        self._write_snapshot(state)
        return state

    def _hold_out(self) -> None:
        """Hold out patterns if the number of epochs was left open, or keep holding out those of the resumed run."""
        count = self._problem.multislice.count
        self._groups = self._requested_groups or self._open_run_groups(count)
        self._course = self._course.without(self._groups)

    def _open_run_groups(self, count: int) -> tuple[IndexArray, ...]:
        """Groups to hold out if the number of epochs was left open or they were held out before; otherwise none."""
        # a parameter of a single pattern is determined by that pattern alone, so it cannot be held out
        per_pattern = any(block.per_pattern for block in self._problem.layout.blocks)
        if per_pattern or not self._schedule.empty:
            return ()
        return held_out_of(self._log, self._preset.solver, count)

    def _add_words(self, words: str) -> None:
        self._message = f"{self._message}; {words}" if self._message else words

    def _pause(self) -> None:
        """Poll for a stop, between batches and in long evaluations; states are immutable, so leaving loses nothing."""
        _raise_if_requested(self._observers.should_stop)

    def _advance(self, state: checkpoints.SolverState) -> checkpoints.SolverState:
        """Take one solver step. Raises StopRequested, and RefinementError without enough memory."""
        self._pause()
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # steps that are too long are halved
                return self._advanced(state)
        except MemoryError:
            raise RefinementError("not enough memory for this refinement", "use fewer slices or modes") from None

    def _advanced(self, state: checkpoints.SolverState) -> checkpoints.SolverState:
        """Take one solver step; log and report an epoch that ends with it."""
        state = self._with_epoch_settings(state)
        after, passes = self._course.advanced(state)
        self._log = self._log.with_evaluations(passes)
        phase = self._course.epoch_between(state, after)
        if phase is not None:
            self._epoch_ended(after, after.losses[-1], phase)
        elif isinstance(after, SweepState):
            self._report(after, "running")
            self._save_sometimes(after)
        if remark := self._course.remark(state, after):
            self._add_words(remark)
        self._course = self._course.continuing(after, self._log)
        return after

    def _with_epoch_settings(self, state: checkpoints.SolverState) -> checkpoints.SolverState:
        """Apply the preset's schedule for this epoch to the solvers and the state."""
        epoch = len(self._log.losses)
        solvers = (self._course.sweeps, self._course.lbfgs)
        scheduled = self._schedule.begin(epoch, solvers, state, again=epoch == self._started_epoch)
        self._started_epoch, self._course = epoch, replace(self._course, sweeps=scheduled.sweeps, lbfgs=scheduled.lbfgs)
        return scheduled.state

    def _epoch_ended(self, state: checkpoints.SolverState, loss: float, phase: Phase) -> None:
        now = time.monotonic()
        held_losses = self._course.losses_of(self._groups, state.vector)
        self._log = self._log.with_epoch(loss, phase, now - self._epoch_start, held_losses)
        self._epoch_start = now
        if self._observers.loss_table is not None:
            table = partial(write_loss_table, log=self._log, earlier=self._observers.earlier)
            self._write(self._observers.loss_table, table)
        self._write_snapshot(state)
        self._report(state, "running", force=True)
        self._save_sometimes(state)

    def _write_snapshot(self, state: checkpoints.SolverState) -> None:
        """Write a snapshot if one is due between two epochs; a later stage starts where the previous one ended."""
        history, epochs = self._observers.history, len(self._log.losses)
        epochs_before = self._observers.epochs_before
        amid = isinstance(state, SweepState) and state.batch > 0
        if history is None or amid or not history.due(epochs_before + epochs) or (epochs_before and not epochs):
            return
        self._write(
            history.folder, lambda folder: history.keep(epochs_before + epochs, partial(self._result, state, "running"))
        )

    def _report(
        self,
        state: checkpoints.SolverState,
        name: State,
        *,
        force: bool = False,
        deviation: PhaseDeviation | None = None,
    ) -> None:
        """Report progress, at most every quarter of a second except at the end of an epoch."""
        now = time.monotonic()
        if not force and now - self._last_report < REPORT_SECONDS:
            return
        self._last_report = now
        preview = None
        if now - self._last_preview >= PREVIEW_SECONDS or name != "running":
            self._last_preview = now
            pixel = self._problem.grid.pixel_A
            preview = partial(build_preview, self._problem.layout, self._backend, state.vector, pixel, deviation)
        done, planned = self._units(state)
        seconds = self._log.total_seconds + now - self._epoch_start
        self._observers.on_progress(
            Progress(
                state=name,
                phase="lbfgs" if isinstance(state, LbfgsState) else "sweep",
                epoch=len(self._log.losses),
                epochs=max(self._problem.strategy.epochs, len(self._log.losses)),
                loss=self._log.losses[-1] if self._log.losses else math.nan,
                seconds=seconds,
                seconds_left=seconds / done * (planned - done) if done > 0 and name == "running" else 0.0,
                evaluations=self._log.evaluations,
                message=self._message or self._problem.strategy.reason,
                warning=self._warning,
                preview=preview,
                losses=self._log.losses,
                phases=self._log.phases,
            )
        )

    def _units(self, state: checkpoints.SolverState) -> tuple[float, float]:
        """Epochs done, including fractions, and planned: a sweep and an L-BFGS epoch cost about the same."""
        done = float(len(self._log.losses))
        if isinstance(state, SweepState):
            done += state.batch / self._course.sweeps.batches
        return done, max(float(self._problem.strategy.epochs), done)

    def _save_sometimes(self, state: checkpoints.SolverState) -> None:
        if time.monotonic() - self._last_checkpoint >= CHECKPOINT_SECONDS:
            self._save(state)

    def _save(self, state: checkpoints.SolverState) -> None:
        if self._observers.checkpoint is not None:
            self._write(
                self._observers.checkpoint,
                partial(checkpoints.save, state=state, log=self._log, identity=self._observers.identity),
            )
            self._last_checkpoint = time.monotonic()

    def _write(self, path: Path, write: Callable[[Path], None]) -> None:
        """Write a file that the refinement can do without: a full disk is reported, and the write retried later."""
        try:
            write(path)
        except OSError as error:
            self._unwritten[path] = error.strerror or str(error)
        else:
            self._unwritten.pop(path, None)

    @property
    def _warning(self) -> str:
        return "; ".join(f"{path} could not be written: {reason}" for path, reason in self._unwritten.items())

    def _result(self, state: checkpoints.SolverState, outcome: State) -> RefineResult:
        last = max(len(self._log.losses) - 1, 0)
        vector = self._schedule.at_end(last, self._backend.to_numpy(state.vector))
        end = Outcome(vector, self._log, outcome, self._message, modulus_fixed=self._schedule.fixes_modulus(last))
        return end.result(self._problem, self._backend.name)

    def _likelihood_left(self, state: checkpoints.SolverState) -> LikelihoodLeft | None:
        """What is left of the likelihood of counts, if the number of epochs was left open; else None."""
        preset = self._preset
        automatic = isinstance(preset.solver.epoch_max, str) and preset.solver.optimizer not in ENGINES
        if self._context is None or not (automatic and preset.refined.update_obj):
            return None
        try:
            return likelihood_left(self._problem, self._backend.to_numpy(state.vector), self._context)
        except (PtyliveError, MemoryError):  # the finished run is worth more
            return None

    def _phase_deviation(self, state: checkpoints.SolverState) -> PhaseDeviation | None:
        """Standard deviation of the phase due to noise; None if it is not requested or cannot be determined."""
        preset, problem, backend = self._preset, self._problem, self._backend
        enabled = self._context is not None and preset.object.phase_deviation and preset.refined.update_obj
        enabled = enabled and preset.solver.optimizer not in ENGINES  # noise propagation is not derived for their steps
        if (
            not enabled
            or self._context is None
            or not self._log.losses
            or not bool(backend.xp.isfinite(state.vector).all())
        ):
            return None
        gradient = state.gradient if isinstance(state, LbfgsState) else None
        loss = self._course.lbfgs.objective
        terms = loss.terms if isinstance(loss, Objective) else ()
        end = EndOfRun.of(problem, backend, (state.vector, gradient), self._log.phases, terms)
        try:
            return phase_deviation(problem, end, self._context, preset.solver.seed)
        except PtyliveError as error:
            self._add_words(f"the standard deviation of the phase could not be estimated: {error.line()}")
            return None


def _raise_if_requested(should_stop: Callable[[], bool]) -> None:
    """Raise StopRequested if a stop is requested; holds no run, whose backend could otherwise not be freed at once."""
    if should_stop():
        raise StopRequested
