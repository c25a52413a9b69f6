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
from ptylive.engine.refine.run.again.continuation import HeldEnd, undo
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.run.stages import Ended, dataset_found
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.warm_start import WarmStart
from ptylive.schema.errors import PtyliveError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

MUCH = 2.0
"""Ratio of the loss to that of counting noise above which a second run may be worth its time: below it most results
are right (docs/automatic/columns.md)."""
MIDDLE = 1024
"""Maximum number of patterns in the middle of the scan that are refined in either way."""


@dataclass(frozen=True)
class Way:
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

    def ended(self, ended: Ended) -> Ended:
        """The end of a run in this way, relative to the data set as given."""
        orientation = self.orientation if ended.orientation is None else ended.orientation
        curves = (*self.curves, *ended.curves)
        return replace(ended, half_turn=self.half_turn != ended.half_turn, orientation=orientation, curves=curves)


@dataclass(frozen=True)
class Runs:
    """How to run refinements: of part of the patterns, without files; and of the scan."""

    of_middle: Callable[[Way], RefineResult]
    of_scan: Callable[[Way, Observers], Ended]


@dataclass(frozen=True)
class Standing:
    """The refinement whose result stands so far."""

    way: Way
    ended: Ended
    """How it ended, relative to the data set of its way."""
    observers: Observers
    """With its checkpoint."""
    rejected: tuple[str, ...] = field(default=())
    """How other ways compared, in words."""

    def found(self, dataset: Dataset, *, drift_removed: bool = False) -> Dataset:
        """Some of its patterns as it refined them; ``drift_removed``: without the drift that was removed."""
        ended, drift = self.ended, self.ended.result.drift
        dataset = dataset_found(dataset, ended)
        if drift_removed and drift is not None and drift.applied:
            dataset = without_drift(dataset, drift)
        return replace(dataset, calibration=ended.calibration)

    def compared(self, words: str) -> Standing:
        """Return a copy that states how another way compared."""
        return replace(self, rejected=(*self.rejected, words))

    def final(self) -> Ended:
        """How it ended, relative to the data set as given."""
        ended = self.way.ended(self.ended)
        reason = "; ".join([ended.result.reason, *self.rejected])
        return replace(ended, result=replace(ended.result, reason=reason))


class Alternative(Protocol):
    """A way to refine a scan other than the one that trials decided."""

    measure: ClassVar[str] = "the loss"
    """What :meth:`ratio` compares, in words."""
    as_given: ClassVar[bool] = False
    """Whether it begins with the data as they were given, and not as the run before it found them to be."""

    def is_called_for(self, standing: Standing) -> bool:
        """Whether what stands leaves so much that this way is tried."""
        return residual_is_large(standing.ended)

    def former(self, standing: Standing) -> str:
        """What stood before it, in words."""
        del standing
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

    def less(self, standing: Standing) -> float:
        """Ratio of losses, of it over the first run, below which it is adopted."""
        ...

    def is_tested(self, dataset: Dataset, preset: Preset) -> bool:
        """Whether it is considered for a refinement with these settings."""
        ...

    def checkpoint(self, path: Path) -> Path:
        """The checkpoint of the second run; that of the first is ``path``."""
        ...

    def of(self, first: Standing, middle: Dataset, context: TrialContext) -> Callable[[Dataset], Way] | None:
        """Return a function from data, as the first run refined them, to this way; None if there is none.

        ``middle`` is the middle of the scan as the first run refined it. With ``as_given`` the data are those given.
        """
        ...


def may_run_again(preset: Preset) -> bool:
    """Whether a refinement with these settings may be followed by a second one: several slices, and an open length."""
    solver = preset.solver
    ordinary = solver.optimizer not in ENGINES and isinstance(solver.epoch_max, str) and not preset.schedules
    ordinary = ordinary and preset.prior.method != "dgp" and preset.refined.update_obj
    return bool(ordinary and (preset.object.num_slices == "auto" or preset.object.slices > 1))


def residual_is_large(ended: Ended) -> bool:
    """Whether a finished refinement of several slices leaves more than the usual faults of a model."""
    return residual_is_above(MUCH, ended)


def residual_is_above(limit: float, ended: Ended) -> bool:
    """Whether a finished refinement of several slices leaves more than ``limit`` times the loss of counting noise."""
    result, ratio = ended.result, ended.result.loss_over_noise
    return ratio is not None and result.state == "done" and ended.slices > 1 and ratio > limit


def refined_in_turn(
    way: Way, alternatives: Sequence[Alternative], observers: Observers, context: TrialContext, runs: Runs
) -> Standing:
    """Refine a scan, and again in other ways as long as far more than noise is left; reports one end."""
    end = HeldEnd(observers.on_progress)
    standing = Standing(way, runs.of_scan(way, replace(observers, on_progress=end)), observers)
    for alternative in alternatives:
        if alternative.is_called_for(standing):
            standing, end = _compared(standing, alternative, end, context, runs)
    end.release()
    return standing


def _compared(
    first: Standing, alternative: Alternative, end: HeldEnd, context: TrialContext, runs: Runs
) -> tuple[Standing, HeldEnd]:
    """Return what stands after one alternative, and the end to report for it.

    If a run stops or fails, ``first`` stands.
    """
    try:
        context.tell(f"{alternative.name} in a full refinement")
        way, less, ratio = _way(first, alternative, context, runs)
    except PtyliveError:
        return first, end
    if way is None:
        return first if ratio is None else first.compared(_worse(alternative, ratio)), end
    last = end.another()
    observers = _observers_of_second(first, alternative, way)
    try:
        ended = runs.of_scan(way, replace(observers, on_progress=last))
        ratio = alternative.ratio(ended.result, first.ended.result)
    except PtyliveError:
        ratio = None
    if ratio is None or ratio >= less:
        _undo(first)
        return first if ratio is None else first.compared(_worse(alternative, ratio)), end
    second = Standing(way, ended, observers, first.rejected)
    times = alternative.measure.replace("the", f"{1 / ratio:.3g} times this", 1)
    return second.compared(f"{alternative.former(first)} ended at {times}"), last


def _way(
    first: Standing, alternative: Alternative, context: TrialContext, runs: Runs
) -> tuple[Way | None, float, float | None]:
    """The way to refine the scan again (None: not), the ratio of losses that is required, and that in the middle."""
    patterns = selected(first.way.dataset, first.way.preset.patterns)
    middle = central_part(patterns, MIDDLE)
    part, complete = first.found(middle, drift_removed=True), len(middle.patterns) == len(patterns.patterns)
    way_of, required = alternative.of(first, part, context), alternative.less(first)
    if way_of is None:
        return None, required, None
    less, ratio = required, None
    if not complete or first.observers.history is not None:  # the snapshots of the first run would be lost
        decided = Way(part, first.ended.preset, decided=True, columns=first.way.columns)
        present = first.ended.result if complete else runs.of_middle(decided)
        given = middle if alternative.as_given else part
        less, ratio = 1.0, alternative.ratio(runs.of_middle(way_of(given)), present)
        if ratio is None or ratio >= required:
            return None, less, ratio
    way = way_of(first.way.dataset if alternative.as_given else first.found(first.way.dataset))
    sequence = first.way.preset.patterns.sequence
    return replace(way, preset=way.preset.model_copy(update={"sequence": sequence})), less, ratio


def _worse(alternative: Alternative, ratio: float) -> str:
    return f"{alternative.name} ends at {ratio:.3g} times {alternative.measure}"


def _observers_of_second(first: Standing, alternative: Alternative, way: Way) -> Observers:
    """Observers of a second run, with its own checkpoint; its snapshots replace those of the first."""
    observers = first.observers
    path = None if observers.checkpoint is None else alternative.checkpoint(observers.checkpoint)
    if observers.history is not None and not (path is not None and checkpoints.exists(path)):
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before)
    return replace(observers, checkpoint=path, identity=checkpoints.Identity.of(way.dataset, way.preset))


def _undo(first: Standing) -> None:
    """Restore the loss table of the first run and drop snapshots of the other; failures to write are ignored."""
    result = first.ended.result
    log = Log(tuple(map(float, result.loss)), result.phases, tuple(map(float, result.seconds)))
    undo(first.observers, log, 0)
