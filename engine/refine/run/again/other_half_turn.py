"""The other half turn, tested when a finished refinement leaves far more than counting noise.

Trials of a few sweeps through a thick crystal may prefer the wrong half turn: a crystal of several depths of focus
converges slowly, and upside down, in fewer slices, it seems better sooner. The losses of complete refinements
distinguish the two. Silicon [110] of 230 Å left 13 times the counting noise under the wrong half turn and 3 to 5 times
under the right one, whose trials had been 8 % worse. If much is left, the middle of the scan is therefore refined to
its end under either half turn, as trials had decided it; if the other leaves far less, the scan is refined under it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.drift import without_drift
from ptylive.engine.refine.data.selection import selected
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.outcome import EXPLAINED
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.drift_afterwards import HeldEnd, undo
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.run.stages import Ended
from ptylive.engine.refine.tuning.half_turn import half_turned, is_open
from ptylive.engine.refine.tuning.held_out import TrialContext, central_part
from ptylive.engine.refine.tuning.parameter_search import present_value, varied
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.errors import PtyliveError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.solver import ENGINES

FAR_LESS = 0.8
"""Ratio of losses below which the other half turn leaves far less: for right ones the other leaves more."""
MIDDLE = 1024
"""Maximum number of patterns in the middle of the scan that are refined under either half turn."""


def half_turn_is_tested(dataset: Dataset, preset: Preset) -> bool:
    """Whether a refinement with these settings is tested for its half turn when it has ended.

    It must have several slices, or as many as trials find, an open length, and a half turn that nobody stated.
    """
    solver = preset.solver
    ordinary = solver.optimizer not in ENGINES and isinstance(solver.epoch_max, str) and not preset.schedules
    ordinary = ordinary and preset.prior.method != "dgp" and preset.refined.update_obj
    thick = preset.object.num_slices == "auto" or preset.object.slices > 1
    return ordinary and thick and is_open(dataset, preset)


def residual_is_large(ended: Ended) -> bool:
    """Whether a finished refinement of several slices leaves more than the usual faults of a model."""
    result, ratio = ended.result, ended.result.loss_over_noise
    return ratio is not None and result.state == "done" and ended.slices > 1 and ratio > EXPLAINED


@dataclass(frozen=True)
class Turned:
    """A data set under the half turn that a refinement ended with, and under the other one; the settings of both."""

    present: Dataset
    other: Dataset
    preset: Preset
    """Preset with the decisions of the trials: its slices lie around the plane where one slice was in focus."""

    @classmethod
    def of(cls, dataset: Dataset, ended: Ended, *, drift_removed: bool = False) -> Turned:
        """Build both data sets; ``drift_removed``: without the drift that was removed."""
        dataset = dataset if ended.orientation is None else ended.orientation.of(dataset)
        dataset = half_turned(dataset) if ended.half_turn else dataset
        drift = ended.result.drift
        if drift_removed and drift is not None and drift.applied:
            dataset = without_drift(dataset, drift)
        dataset = replace(dataset, calibration=ended.calibration)
        other, preset = half_turned(dataset), ended.preset
        # the entrance surface of one is the exit surface of the other
        entrance_A = present_value(other, preset, Scanned.DEFOCUS) + sum(preset.object.slice_thickness_A)
        return cls(dataset, *varied(other, preset, Scanned.DEFOCUS, entrance_A))


@dataclass(frozen=True)
class Runs:
    """How to run refinements with a known half turn: of part of the patterns, without files; and of the scan."""

    of_middle: Callable[[Dataset, Preset], RefineResult]
    of_scan: Callable[[Dataset, Preset, Observers, str], Ended]


def refined_either(
    first: Ended,
    dataset: Dataset,
    preset: Preset,
    observers: Observers,
    end: HeldEnd,
    context: TrialContext,
    runs: Runs,
) -> Ended:
    """Return ``first``, or the refinement under the other half turn if that leaves far less.

    ``end``: end of the first run, discarded if another is reported. If the second stops or fails, ``first`` stands.
    """
    if not residual_is_large(first):
        return first
    try:
        context.tell("the other half turn in a full refinement")
        selection = selected(dataset, preset.patterns)
        middle = central_part(selection, MIDDLE)
        turned = Turned.of(middle, first, drift_removed=True)
        complete = len(middle.patterns) == len(selection.patterns)
        present = first.result if complete else runs.of_middle(turned.present, turned.preset)
        other = runs.of_middle(turned.other, turned.preset)
    except PtyliveError:
        return first
    ratio = _ratio(other, present)
    if ratio is None or ratio >= FAR_LESS:
        return first if ratio is None else _with_words(first, f"the other half turn ends at {ratio:.3g} times the loss")
    turned = Turned.of(dataset, first)
    settings = turned.preset.model_copy(update={"sequence": preset.patterns.sequence})
    last = end.another()
    try:
        second = runs.of_scan(
            turned.other,
            settings,
            _second_observers(observers, last, turned.other, settings),
            _words(turned, first, ratio),
        )
    except PtyliveError:
        second = None
    if second is None or second.result.state != "done":
        _undo(observers, first.result)
        return first
    end.forget()
    last.release()
    return replace(second, half_turn=not first.half_turn, orientation=first.orientation)


def _ratio(other: RefineResult, present: RefineResult) -> float | None:
    """Ratio of the final losses, other over present; None unless both runs finished."""
    if {present.state, other.state} != {"done"}:
        return None
    return float(other.loss[-1]) / float(present.loss[-1])


def _with_words(ended: Ended, words: str) -> Ended:
    return replace(ended, result=replace(ended.result, reason=f"{ended.result.reason}; {words}"))


def _words(turned: Turned, first: Ended, ratio: float) -> str:
    """Explain in words why the other half turn was chosen; ``ratio``: of the losses in the middle."""
    calibration = turned.other.calibration
    name = half_turn_words(calibration.rotation_deg, calibration.aberrations["C10"])
    name = "no half turn" if first.half_turn else name
    times = first.result.loss_over_noise
    return f"{name}: the first run ended at {times:.3g} times the counting noise, this half turn at {ratio:.2g} of that"


def _second_observers(observers: Observers, end: HeldEnd, dataset: Dataset, preset: Preset) -> Observers:
    """Observers of the second run, with its own checkpoint; its snapshots replace those of the first."""
    path = None if observers.checkpoint is None else checkpoints.of_other_half_turn(observers.checkpoint)
    if observers.history is not None:
        with suppress(OSError):
            observers.history.drop_after(observers.epochs_before)
    identity = checkpoints.Identity.of(dataset, preset)
    return replace(observers, on_progress=end, checkpoint=path, identity=identity)


def _undo(observers: Observers, first: RefineResult) -> None:
    """Restore the loss table of the first run and drop snapshots of the other; failures to write are ignored."""
    undo(observers, Log(tuple(map(float, first.loss)), first.phases, tuple(map(float, first.seconds))), 0)
