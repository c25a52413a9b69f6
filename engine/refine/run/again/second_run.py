"""A second refinement of a scan whose first left far more than counting noise, in another way.

Short trials decide how a scan is refined, and in thick crystals they may err; the losses of complete refinements show
it. If much is left after a run through several slices, the middle of the scan is therefore refined to its end in the
other way too, and if that leaves less, the scan is. A scan no larger than such a middle is refined in the other way at
once. The first result stands unless the second leaves less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import without_drift
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.results.curve import Curve
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.continuation import DeferredEnd, may_be_followed, undo
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.run.stages import RunRecord, dataset_found
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, Orientation
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema.advice.words import significant
from ptylive.schema.errors import PtyliveError
from ptylive.schema.preset import Preset

MUCH = 2.0
"""Ratio of the loss to that of counting noise above which a second run may be worth its time: below it most results
are right (docs/measured/automatic/columns.md)."""
MIDDLE = 1024
"""Maximum number of patterns in the middle of the scan that are refined in either way."""


@dataclass(frozen=True)
class RunPlan:
    """How a scan is refined: data set, settings and, if an earlier run decided them, half turn and start."""

    dataset: Dataset
    preset: Preset
    decided: bool = False
    """Whether trials must not decide orientation and half turn again."""
    words: tuple[str, ...] = ()
    """How it, or its depth, was decided."""
    columns: WarmStart | None = None
    """Columns that the object starts from; None: trials decide."""
    half_turn: bool = False
    """Whether the data set is under the other half turn than the one it was given with."""
    orientation: Orientation | None = None
    """Orientation, before the half turn, relative to the data set as given."""
    curves: tuple[Curve, ...] = ()
    """Scans of values whose results the data set has."""
    depths: float | None = None
    """Depths of focus that it goes through in place of the one slice that trials decided for."""
    why: str = ""
    """Why one slice is not enough, in words."""
    turned_by_depth: bool = False
    """Whether depth alone decides an open half turn, and not the phase of one slice."""

    def relative_to_given(self, record: RunRecord) -> RunRecord:
        """The record of a run under this plan, relative to the data set as given."""
        orientation = record.orientation
        if self.orientation is not None:
            orientation = self.orientation.followed_by(orientation or AS_IT_IS)
        curves = (*self.curves, *record.curves)
        return replace(record, half_turn=self.half_turn != record.half_turn, orientation=orientation, curves=curves)


@dataclass(frozen=True)
class Runners:
    """How to run refinements: of part of the patterns, without files; and of the scan."""

    of_middle: Callable[[RunPlan], RefineResult]
    of_scan: Callable[[RunPlan, Observers], RunRecord]


@dataclass(frozen=True)
class Incumbent:
    """The best refinement so far, as the plan that led to it and the record of its run."""

    plan: RunPlan
    record: RunRecord
    """Relative to the data set of the plan."""
    observers: Observers
    """With its checkpoint."""
    rejected: tuple[str, ...] = field(default=())
    """How other ways compared, in words."""

    def found(self, dataset: Dataset, *, drift_removed: bool = False) -> Dataset:
        """Some of its patterns as it refined them; ``drift_removed``: without the drift that was removed."""
        record, drift = self.record, self.record.result.drift
        dataset = dataset_found(dataset, record)
        if drift_removed and drift is not None and drift.applied:
            dataset = without_drift(dataset, drift)
        return replace(dataset, calibration=record.calibration)

    def compared(self, words: str) -> Incumbent:
        """Return a copy that states how another way compared."""
        return replace(self, rejected=(*self.rejected, words))

    def final(self) -> RunRecord:
        """Its record relative to the data set as given, with what was rejected in its reason."""
        record = self.plan.relative_to_given(self.record)
        reason = "; ".join([record.result.reason, *self.rejected])
        return replace(record, result=replace(record.result, reason=reason))


class Alternative(Protocol):
    """A way to refine a scan other than the one that trials decided."""

    measure: ClassVar[str] = "the loss"
    """What :meth:`ratio` compares, in words."""
    as_given: ClassVar[bool] = False
    """Whether it begins with the data as they were given, and not as the run before it found them to be."""

    def is_called_for(self, incumbent: Incumbent) -> bool:
        """Whether the incumbent leaves so much that this way is tried."""
        return residual_is_large(incumbent.record)

    def former(self, incumbent: Incumbent) -> str:
        """What the incumbent is, in words, for the reason of a run that replaces it."""
        del incumbent
        return "the first run"

    def ratio(self, other: RefineResult, present: RefineResult) -> float | None:
        """Ratio of what two runs leave, other over present; None unless both finished."""
        if {present.state, other.state} != {"done"}:
            return None
        return float(other.loss[-1]) / float(present.loss[-1])

    @property
    def name(self) -> str:
        """What is different, in words."""
        ...

    def less(self, incumbent: Incumbent) -> float:
        """Ratio of losses, of it over the first run, below which it is adopted."""
        ...

    def is_tested(self, dataset: Dataset, preset: Preset) -> bool:
        """Whether it is considered for a refinement with these settings."""
        ...

    def checkpoint(self, path: Path) -> Path:
        """The checkpoint of the second run; that of the first is ``path``."""
        ...

    def of(self, first: Incumbent, middle: Dataset, context: TrialContext) -> Callable[[Dataset], RunPlan] | None:
        """Return a function from data, as the first run refined them, to a plan for this way; None if there is none.

        ``middle`` is the middle of the scan as the first run refined it. With ``as_given`` the data are those given.
        """
        ...


def may_run_again(preset: Preset) -> bool:
    """Whether a refinement with these settings may be followed by a second one: several slices, and an open length."""
    return may_be_followed(preset) and (preset.object.num_slices == "auto" or preset.object.slices > 1)


def residual_is_large(record: RunRecord) -> bool:
    """Whether a finished refinement of several slices leaves more than the usual faults of a model."""
    return residual_is_above(MUCH, record)


def residual_is_above(limit: float, record: RunRecord) -> bool:
    """Whether a finished refinement of several slices leaves more than ``limit`` times the loss of counting noise."""
    result, ratio = record.result, record.result.loss_over_noise
    return ratio is not None and result.state == "done" and record.slices > 1 and ratio > limit


def times_noise(ratio: float | None) -> str:
    """`13 times the counting noise`, in words, for a ratio of loss to that of counting noise; None if it is unknown."""
    return "more than counting noise" if ratio is None else f"{significant(ratio, 3)} times the counting noise"


def refined_in_turn(
    plan: RunPlan, alternatives: Sequence[Alternative], observers: Observers, context: TrialContext, runs: Runners
) -> Incumbent:
    """Refine a scan, and again in other ways as long as far more than noise is left; reports one end."""
    end = DeferredEnd(observers.on_progress)
    incumbent = Incumbent(plan, runs.of_scan(plan, replace(observers, on_progress=end)), observers)
    for alternative in alternatives:
        if alternative.is_called_for(incumbent):
            incumbent, end = _compared(incumbent, alternative, end, context, runs)
    end.release()
    return incumbent


def _compared(
    first: Incumbent, alternative: Alternative, end: DeferredEnd, context: TrialContext, runs: Runners
) -> tuple[Incumbent, DeferredEnd]:
    """Return the incumbent after one alternative, and the end to report for it.

    It is still ``first`` if a run stops or fails.
    """
    try:
        context.tell(f"{alternative.name} in a full refinement")
        plan, less, ratio = _plan(first, alternative, context, runs)
    except PtyliveError:
        return first, end
    if plan is None:
        return first if ratio is None else first.compared(_worse(alternative, ratio)), end
    last = end.another()
    observers = _observers_of_second(first, alternative, plan)
    try:
        record = runs.of_scan(plan, replace(observers, on_progress=last))
        ratio = alternative.ratio(record.result, first.record.result)
    except PtyliveError:
        ratio = None
    if ratio is None or ratio >= less:
        _undo(first)
        return first if ratio is None else first.compared(_worse(alternative, ratio)), end
    second = Incumbent(plan, record, observers, first.rejected)
    times = alternative.measure.replace("the", f"{significant(1 / ratio, 3)} times this", 1)
    return second.compared(f"{alternative.former(first)} ended at {times}"), last


def _plan(
    first: Incumbent, alternative: Alternative, context: TrialContext, runs: Runners
) -> tuple[RunPlan | None, float, float | None]:
    """The plan to refine the scan again (None: not), the ratio of losses that is required, and that in the middle."""
    patterns = selected(first.plan.dataset, first.plan.preset.patterns)
    middle = central_part(patterns, MIDDLE)
    part, complete = first.found(middle, drift_removed=True), len(middle.patterns) == len(patterns.patterns)
    plan_of, required = alternative.of(first, part, context), alternative.less(first)
    if plan_of is None:
        return None, required, None
    less, ratio = required, None
    if not complete or first.observers.history is not None:  # the snapshots of the first run would be lost
        decided = RunPlan(part, first.record.preset, decided=True, columns=first.plan.columns)
        present = first.record.result if complete else runs.of_middle(decided)
        given = middle if alternative.as_given else part
        less, ratio = 1.0, alternative.ratio(runs.of_middle(plan_of(given)), present)
        if ratio is None or ratio >= required:
            return None, less, ratio
    plan = plan_of(first.plan.dataset if alternative.as_given else first.found(first.plan.dataset))
    sequence = first.plan.preset.patterns.sequence
    return replace(plan, preset=plan.preset.model_copy(update={"sequence": sequence})), less, ratio


def _worse(alternative: Alternative, ratio: float) -> str:
    return f"{alternative.name} ends at {significant(ratio, 3)} times {alternative.measure}"


def _observers_of_second(first: Incumbent, alternative: Alternative, plan: RunPlan) -> Observers:
    """Observers of a second run, with its own checkpoint; its snapshots replace those of the first."""
    observers = first.observers
    path = None if observers.checkpoint is None else alternative.checkpoint(observers.checkpoint)
    if observers.history is not None and not (path is not None and checkpoints.exists(path)):
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before)
    return replace(observers, checkpoint=path, identity=checkpoints.Identity.of(plan.dataset, plan.preset))


def _undo(first: Incumbent) -> None:
    """Restore the loss table of the first run and drop snapshots of the other; failures to write are ignored."""
    result = first.record.result
    log = Log(tuple(map(float, result.loss)), result.phases, tuple(map(float, result.seconds)))
    undo(first.observers, log, 0)
