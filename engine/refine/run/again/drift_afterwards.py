"""A drift that only a finished refinement shows: it is removed, and the refinement continues from there.

For many scans short trials do not show whether they drifted; the refined object does
(:mod:`~ptylive.engine.refine.run.again.strain_score`), and so does the lattice, each seldom beyond doubt. A drift that
the lattice suggests and trials left alone is therefore tested again at the end of the run, by both together
(:mod:`~ptylive.engine.refine.run.again.drift_evidence`). If it is confirmed, object and positions are strained together
and L-BFGS continues, so what was refined is kept. The object is then tested from that side as well; if it wants the
drift back, the result of the first run stands.

A drift that trials removed before a run in several slices may be far too large: the lattice of a thick crystal errs,
and trials hardly show how large a drift is. If patterns fit the refined object better with the drift put back, half of
it is put back and L-BFGS continues. The slopes of the loss on both sides show which of the two is nearer to the drift.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import Problem, lay_out
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.drift_evidence import DriftEvidence, missed_by
from ptylive.engine.refine.run.again.strain_score import StrainedScan, StrainScore
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.refinement import Observers, Refinement
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.drift_check import is_open
from ptylive.engine.refine.tuning.half_turn import FOUND
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS
from ptylive.schema.errors import StoppedError
from ptylive.schema.model import Array
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

EPOCHS = 10
"""Epochs of L-BFGS after a drift has been removed; more while the loss still falls."""
WANTED_BACK = -1.0
"""Gain of an object of several slices by more of a drift that trials removed, in standard deviations, below which half
of it is put back (docs/automatic/drift.md)."""


def drift_is_tested(measured: Measurement, preset: Preset) -> bool:
    """Whether a run with these settings, all decided, is tested for drift when it has ended.

    Only object, probe and a thickness may be refined, and the length of the run must be open. The drift has to lie
    within the range that the slope at the end of a run covers: patterns moved by less than the resolution. One that
    trials removed is tested in several slices only.
    """
    drift, solver = measured.drift, preset.solver
    if drift is None or not is_open(drift, preset) or (drift.applied and preset.object.slices == 1):
        return False
    moved_A = math.hypot(*drift.drift_A) / math.sqrt(12)  # root mean square about the middle of the scan
    if moved_A * measured.probe.semiangle_invA > 1:
        return False
    ordinary = solver.optimizer not in ENGINES and isinstance(solver.epoch_max, str) and not preset.schedules
    ordinary = ordinary and not preset.stages and preset.prior.method != "dgp"
    enough = len(measured.dataset.patterns) >= LEAST_PATTERNS
    return ordinary and enough and measured.plain


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
class _Change:
    """A change of the drift that a continuation tries."""

    drift: Drift
    """The drift that is removed if the continuation stands."""
    rejection: Callable[[StrainScore | None], str | None]
    """Reason of the first run's drift if that run stands, None if the continuation does; from the score of the
    continuation (None: a stop came first)."""


def continued_without_drift(
    first: Finished,
    preset: Preset,
    observers: Observers,
    end: HeldEnd,
    context: TrialContext,
    *,
    resume: bool,
    epochs: int | None = None,
) -> tuple[RefineResult, Measurement]:
    """Result of a run, or of its continuation without the drift that it shows, and the measurement it belongs to.

    Where trials removed the drift before the run, it may be continued with half of that drift.
    ``end``: holds back the end of the first run; discarded if the end of the continuation is reported instead.
    ``epochs``: total number that a resumed continuation shall have; None: it ends by itself.
    """
    measured = first.problem.measured
    drift, lattice = measured.drift, Lattice.of(first.nominal)
    assert drift is not None and lattice is not None  # noqa: S101  (drift_is_tested)
    scan = StrainedScan(first.problem, first.vector, preset, context, lattice)
    gained = _scored(scan, measured, context, "the drift's strain on the refined object")
    if gained is None:
        return first.result, measured
    evidence = DriftEvidence(drift.deviations, gained.deviations, several=preset.object.slices > 1)
    if drift.applied:
        if gained.deviations > WANTED_BACK:
            return first.result, measured
        change = _half_of(drift, gained)
    elif evidence.is_worth_trying(first.result.loss_over_noise):
        change = _removal_of(drift, evidence, gained)
    else:
        return _first_with_reason(
            first, drift, f"{drift.reason}, and lattice and refined object do not show it either ({evidence})"
        )
    problem = _continued(first, change.drift, preset)
    before = scan.drifting(drift) if drift.applied else np.eye(2)
    moved = scan.drifting(change.drift) @ np.linalg.inv(before)
    start = SweepState(scan.on(problem, moved), sweep=problem.strategy.sweeps, striped=True)
    del scan
    run, last = _Continuation(first, start, preset, observers, context, resume), end.another()
    result, second = run.refined(problem, last)
    if second is not None:
        reason = change.rejection(run.scored(second, lattice))
        if reason is not None:
            undo(observers, first.log, len(first.log.losses))
            return _first_with_reason(first, drift, reason)
    end.forget()
    if second is not None and epochs is not None:
        last = end.another()
        result = run.lengthened(problem, last, epochs)
    last.release()
    return result, problem.measured


def _removal_of(drift: Drift, evidence: DriftEvidence, gained: StrainScore) -> _Change:
    """Remove a drift that lattice and refined object show, unless the object refined without it wants it back."""
    corrected = _corrected(drift, evidence)

    def rejection(back: StrainScore | None) -> str | None:
        doubt = _doubt(gained, back, sure=evidence.is_enough)
        shown = f"lattice and refined object {'show' if evidence.is_enough else 'suggest'} it ({evidence})"
        return None if doubt is None else f"{_found(drift)}: not corrected, {shown}, but {doubt}"

    return _Change(corrected, rejection)


def _half_of(drift: Drift, gained: StrainScore) -> _Change:
    """Put half of a removed drift back, unless the object refined with that half shows the other half to be there.

    The slope of a parabolic loss is zero at the drift itself. If it has turned on the side of the half, and is steeper
    than on that of the whole, the whole is nearer. The uncertainty includes the half that is not tested.
    """
    half = (0.5 * drift.drift_A[0], 0.5 * drift.drift_A[1])
    slow_A, fast_A = (math.hypot(found, part) for found, part in zip(drift.uncertainty_A, half, strict=True))
    better = "patterns fit the refined object better with the drift put back"
    better += f", by {-gained.deviations:.1f} standard deviations"
    numbers = ", ".join(f"{value:z.2f}" for value in half)

    def rejection(back: StrainScore | None) -> str | None:
        if back is None:
            return f"{drift.reason}, although {better}; the run was stopped before half of the drift was tested"
        if back.gain < -gained.gain:
            return None
        return f"{drift.reason}; {better}, but an object refined with half of the drift shows the other half"

    reason = f"{_found(drift)}: half of it corrected ({numbers}), since {better}"
    return _Change(replace(drift, drift_A=half, uncertainty_A=(slow_A, fast_A), reason=reason), rejection)


def _found(drift: Drift) -> str:
    """The drift itself, from the reason that the trials gave."""
    return drift.reason.split(": ", 1)[0]


def _corrected(drift: Drift, evidence: DriftEvidence) -> Drift:
    """The drift, applied, with the reason that stands if the continuation confirms it."""
    shown = f"lattice and refined object show it ({evidence})"
    if not evidence.is_enough:
        shown = f"the object refined without it shows it, as lattice and refined object had suggested ({evidence})"
    return replace(drift, applied=True, reason=f"{_found(drift)}: corrected, {shown}")


def _doubt(gained: StrainScore, back: StrainScore | None, *, sure: bool) -> str | None:
    """Why the continuation is discarded, None if it confirms the drift; ``back``: None if a stop came before it."""
    if back is None:
        return "the run was stopped before the object refined without it was tested"
    missed = missed_by(gained, back, sure=sure)
    return (
        None
        if missed is None
        else f"the object refined without it prefers it back, by {missed:.1f} standard deviations"
    )


@dataclass(frozen=True)
class _Continuation:
    """A run that continues a finished one from a start of its own."""

    first: Finished
    start: SweepState
    preset: Preset
    observers: Observers
    context: TrialContext
    resume: bool

    def refined(self, problem: Problem, end: HeldEnd) -> tuple[RefineResult, Finished | None]:
        """Run the continuation; return its result and how it ended, None if it was stopped."""
        observers = replace(self.observers, on_progress=end)
        path = None if observers.checkpoint is None else checkpoints.of_second_run(observers.checkpoint)
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

    def scored(self, ended: Finished, lattice: Lattice) -> StrainScore | None:
        """Gain of the ended continuation from the drift it was refined without; None if a stop came first."""
        scan = StrainedScan(ended.problem, ended.vector, self.preset, self.context, lattice)
        measured = self.first.problem.measured
        return _scored(scan, measured, self.context, "the drift's strain on the object refined without it")


def _scored(scan: StrainedScan, measured: Measurement, context: TrialContext, words: str) -> StrainScore | None:
    """Gain of a refined scan from the drift of its nominal positions; None if a stop came first.

    In that case the refined result stands.
    """
    assert measured.drift is not None  # noqa: S101  (drift_is_tested)
    stated = measured.dataset.calibration.origin("rotation_deg") not in FOUND
    try:
        context.before(words)
        return scan.score(measured.drift, turned=stated)
    except StoppedError:
        return None


def _first_with_reason(first: Finished, drift: Drift, reason: str) -> tuple[RefineResult, Measurement]:
    """Return the result of the first run, which states the reason."""
    unchanged = replace(drift, reason=reason)
    result = replace(first.result, drift=unchanged, reason=first.result.reason.replace(drift.reason, reason))
    return result, replace(first.problem.measured, drift=unchanged)


def undo(observers: Observers, log: Log, epochs: int) -> None:
    """Restore the loss table of the first run and drop later snapshots; failures to write are ignored."""
    if observers.loss_table is not None:
        with suppress(OSError):
            write_loss_table(observers.loss_table, log, observers.earlier)
    if observers.history is not None:
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before + epochs)


def _continued(first: Finished, drift: Drift, preset: Preset) -> Problem:
    """Problem of a run with another drift removed, with all decisions unchanged and L-BFGS still to run."""
    old = first.problem
    reason, measured = old.strategy.reason, old.measured
    if measured.drift is not None:
        reason = reason.replace(measured.drift.reason, drift.reason)
    placed = replace(measured.dataset, positions_A=without_drift(first.nominal, drift).positions_A)
    measured = replace(measured, dataset=placed, drift=drift)
    strategy = replace(old.strategy, epochs=old.strategy.sweeps + EPOCHS, reason=reason)
    problem = lay_out(measured, strategy, preset, None)
    return replace(problem, forward=replace(problem.forward, tilt_found=old.forward.tilt_found), curves=old.curves)


def _fingerprint(first: Finished, previous: str) -> str:
    """Fingerprint of the state that the run continues from."""
    return hashlib.sha256(previous.encode() + np.ascontiguousarray(first.vector).tobytes()).hexdigest()
