"""A finished run, and its continuation on other positions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.schema.model import Array
from ptylive.schema.preset import Preset


@dataclass(frozen=True)
class Finished:
    """A run that has ended, without the copy of the patterns on a device."""

    problem: Problem
    """Problem without its start."""
    vector: Array
    log: Log
    result: RefineResult
    nominal: Dataset
    """Data set with the positions before a drift was removed."""

    @classmethod
    def of(cls, run: Refinement, result: RefineResult, backend: MultisliceBackend, nominal: Dataset) -> Finished | None:
        """Collect a run; None if it refined more than object, probe and a thickness, or did not finish."""
        layout = run.problem.layout
        other_blocks = {block.name for block in layout.blocks} - {BlockName.THICKNESS}
        plain = not other_blocks and layout.field is None and layout.object_modes == 1 and layout.probe.probes == 1
        if result.state != "done" or not plain or layout.cleaning is not None:
            return None
        return cls(run.problem, backend.to_numpy(run.vector), run.log, result, nominal)


class HeldEnd:
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

    def another(self) -> HeldEnd:
        """Return another holder for the run that continues, separate from the end of the first."""
        return HeldEnd(self._report)

    def forget(self) -> None:
        """Discard the held end because another one replaces it."""
        self._end = None

    def release(self) -> None:
        """Report the end that was held back, if any."""
        if self._end is not None:
            self._report(self._end)


@dataclass(frozen=True)
class Continuation:
    """A run that continues a finished one from a start of its own."""

    first: Finished
    start: SweepState
    preset: Preset
    observers: Observers
    context: TrialContext
    resume: bool
    number: int
    """Place among the continuations of the run, from 1."""

    def refined(self, problem: Problem, end: HeldEnd) -> tuple[RefineResult, Finished | None]:
        """Run the continuation; return its result and how it ended, None if it was stopped."""
        observers = replace(self.observers, on_progress=end)
        path = None if observers.checkpoint is None else checkpoints.of_second_run(observers.checkpoint, self.number)
        identity = replace(observers.identity, follows=_fingerprint(self.first, observers.identity.follows))
        saved = checkpoints.load(path, identity) if path is not None and self.resume else None
        saved = checkpoints.Checkpoint(self.start, self.first.log, "") if saved is None else saved
        observers = replace(observers, checkpoint=path, identity=identity)
        with closing(open_backend(self.context.backend, problem.multislice, self.context.threads)) as backend:
            run = Refinement(problem, self.preset, backend, observers, self.context)
            result = run.run(saved)
            return result, Finished.of(run, result, backend, self.first.nominal)

    def lengthened(self, problem: Problem, end: HeldEnd, epochs: int) -> RefineResult:
        """Run on to that total number of epochs; sweeps are not repeated."""
        log = self.first.log
        further = log.phases.count("sweep") + max(0, epochs - len(log.losses))
        problem = replace(problem, strategy=replace(problem.strategy, epochs=further))
        preset = self.preset.model_copy(update={"epoch_max": epochs})
        return replace(self, preset=preset).refined(problem, end)[0]


def is_lower(result: RefineResult, than: RefineResult) -> bool:
    """Whether a run ended with a lower loss than another."""
    return bool(result.loss[-1] < than.loss[-1])


def undo(observers: Observers, log: Log, epochs: int) -> None:
    """Restore the loss table of the first run and drop later snapshots; failures to write are ignored."""
    if observers.loss_table is not None:
        with suppress(OSError):
            write_loss_table(observers.loss_table, log, observers.earlier)
    if observers.history is not None:
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before + epochs)


def _fingerprint(first: Finished, previous: str) -> str:
    """Fingerprint of the state that the run continues from."""
    return hashlib.sha256(previous.encode() + np.ascontiguousarray(first.vector).tobytes()).hexdigest()
