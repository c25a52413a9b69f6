"""A finished run, and another of the same scan on other positions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.parameters.parameter_vector import BlockName, ParameterLayout
from ptylive.engine.refine.problem.prepare import NO_DRIFT, Problem
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.model import Array
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

HIGHER, HIGHER_NEARBY = 1.1, 1.02
"""Ratio of losses below which they are alike: of thick crystals that have not converged, they differ by percents; by
less on positions that are nearly the same."""


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended, without the copy of the patterns on a device."""

    problem: Problem
    """Problem without its start."""
    vector: Array
    log: Log
    result: RefineResult
    nominal: Dataset
    """Data set with the positions before a drift was removed."""
    begin: Callable[[Problem], Problem]
    """Give a problem on other positions the start that the run had."""

    @classmethod
    def of(
        cls,
        run: Refinement,
        result: RefineResult,
        backend: MultisliceBackend,
        nominal: Dataset,
        begin: Callable[[Problem], Problem],
    ) -> FinishedRun | None:
        """Collect a run; None if it refined more than object, probe and a thickness, or did not finish."""
        if result.state != "done" or not is_plain(run.problem.layout):
            return None
        return cls(run.problem, backend.to_numpy(run.vector), run.log, result, nominal, begin)

    def with_drift_remark(self, remark: str, unmeasured: str) -> FinishedRun:
        """Append a remark to the reason of its drift, wherever that is stated; to ``unmeasured`` if it has none."""
        if (drift := self.problem.measured.drift) is None:
            reason = self.result.reason.replace(NO_DRIFT, f"{unmeasured}{remark}")
            return replace(self, result=replace(self.result, reason=reason))
        problem = with_drift_remark(self.problem, remark)
        remarked = replace(drift, reason=f"{drift.reason}{remark}")
        reason = self.result.reason.replace(drift.reason, remarked.reason)
        return replace(self, problem=problem, result=replace(self.result, drift=remarked, reason=reason))


@dataclass(frozen=True)
class RunEnvironment:
    """What runs that follow each other have in common."""

    preset: Preset
    """Settings with nothing left to decide."""
    observers: Observers
    context: TrialContext
    resume: bool
    """Whether each run continues from its checkpoint, if it has one."""
    keeps_rotation: bool = False
    """Whether the scan must not be turned, because an object was given that lies in its frame."""
    keeps_optics: bool = False
    """Whether the optics stay, because each run starts from a probe that was refined under them."""


class DeferredEnd:
    """Progress of a run that may continue: its end is reported only once it is known to be final."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._end: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Pass progress on, except the end of a run."""
        if progress.state == "done":
            self._end = replace(progress, preview=None)  # the backend that makes the preview is closed by then
            progress = replace(progress, state="running")
        self._report(progress)

    def another(self) -> DeferredEnd:
        """Return another holder for the run that continues, separate from the end of the first."""
        return DeferredEnd(self._report)

    def forget(self) -> None:
        """Discard the held end because another one replaces it."""
        self._end = None

    def release(self) -> None:
        """Report the end that was held back, if any."""
        if self._end is not None:
            self._report(self._end)


@dataclass(frozen=True)
class Continuation:
    """Another run after a finished one, from its own start; its epochs are counted on from those of the first."""

    first: FinishedRun
    environment: RunEnvironment
    number: int
    """Place among the runs that followed, from 1."""

    def refined(self, problem: Problem, end: DeferredEnd) -> tuple[RefineResult, FinishedRun | None]:
        """Refine the problem from its start; return the result and how it ended, None if it was stopped."""
        return self._refined(self._counted_on(problem, problem.strategy.epochs), self.environment.preset, end)

    def lengthened(self, problem: Problem, end: DeferredEnd, epochs: int) -> RefineResult:
        """Run on to a total number of epochs, those of the first run included."""
        further = max(problem.strategy.sweeps, epochs - len(self.first.log.losses))
        preset = self.environment.preset.model_copy(update={"epoch_max": epochs})
        return self._refined(self._counted_on(problem, further), preset, end)[0]

    def _counted_on(self, problem: Problem, epochs: int) -> Problem:
        """The problem with this number of epochs: L-BFGS makes those that all sweeps in the log leave."""
        before = self.first.log.phases.count("sweep")
        return replace(problem, strategy=replace(problem.strategy, epochs=before + epochs))

    def _refined(self, problem: Problem, preset: Preset, end: DeferredEnd) -> tuple[RefineResult, FinishedRun | None]:
        context, watching = self.environment.context, self.environment.observers
        path = None if watching.checkpoint is None else checkpoints.of_second_run(watching.checkpoint, self.number)
        identity = replace(watching.identity, follows=_fingerprint(self.first, watching.identity.follows))
        observers = replace(watching, on_progress=end, checkpoint=path, identity=identity)
        saved = checkpoints.load(path, identity) if path is not None and self.environment.resume else None
        start = checkpoints.Checkpoint(SweepState(problem.start, striped=True), self.first.log, "")
        with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
            run = Refinement(problem, preset, backend, observers, context)
            result = run.run(start if saved is None else saved)
            return result, FinishedRun.of(run, result, backend, self.first.nominal, self.first.begin)


def with_drift_remark(problem: Problem, remark: str) -> Problem:
    """The problem with a remark in the reason of its drift, if it has one."""
    if (drift := problem.measured.drift) is None:
        return problem
    remarked = replace(drift, reason=f"{drift.reason}{remark}")
    forward = replace(problem.forward, measured=replace(problem.measured, drift=remarked))
    reason = problem.strategy.reason.replace(drift.reason, remarked.reason)
    return replace(problem, forward=forward, strategy=replace(problem.strategy, reason=reason))


def is_plain(layout: ParameterLayout) -> bool:
    """Whether only one object, one probe and a thickness are refined."""
    other_blocks = {block.name for block in layout.blocks} - {BlockName.THICKNESS}
    plain = not other_blocks and layout.field is None and layout.object_modes == 1 and layout.probe.probes == 1
    return plain and layout.cleaning is None


def may_be_followed(preset: Preset) -> bool:
    """Whether another run may follow one with these settings: it ends by itself, and is ordinary."""
    return isinstance(preset.solver.epoch_max, str) and is_ordinary(preset)


def is_ordinary(preset: Preset) -> bool:
    """Whether sweeps and L-BFGS refine an object, without a schedule or a prior made by a network."""
    ordinary = preset.solver.optimizer not in ENGINES and not preset.schedules
    return ordinary and preset.prior.method != "dgp" and preset.refined.update_obj


def is_as_low(result: RefineResult, than: RefineResult, *, nearby: bool = False) -> bool:
    """Whether a run ended with about the loss of another; ``nearby``: on positions that are nearly the same.

    One in a wrong minimum leaves more, and so does one with more of a drift removed than there is.
    """
    return bool(result.loss[-1] < (HIGHER_NEARBY if nearby else HIGHER) * than.loss[-1])


def undo(observers: Observers, log: Log, epochs: int) -> None:
    """Restore the loss table of the first run and drop later snapshots; failures to write are ignored."""
    if observers.loss_table is not None:
        with suppress(OSError):
            write_loss_table(observers.loss_table, log, observers.earlier)
    if observers.history is not None:
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before + epochs)


def _fingerprint(first: FinishedRun, previous: str) -> str:
    """Fingerprint of the state that the run continues from."""
    return hashlib.sha256(previous.encode() + np.ascontiguousarray(first.vector).tobytes()).hexdigest()
