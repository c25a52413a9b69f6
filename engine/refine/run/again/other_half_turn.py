"""The other half turn, tested when a finished refinement leaves more than counting noise.

Trials of a few sweeps through a thick crystal may prefer the wrong half turn: a crystal of several depths of focus
converges slowly, and upside down, in fewer slices, it seems better sooner. Silicon [110] of 230 Å left 13 times the
counting noise under the wrong half turn and 3 to 5 times under the right one, whose trials had been 8 % worse.

A half turn that the maps left undecided is tested even if little is left: the phase of one slice, by which it was then
chosen, may show heavy columns as holes, and trials through depth may be misled as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.second_run import (
    Alternative,
    Incumbent,
    RunPlan,
    may_run_again,
    residual_is_above,
    residual_is_large,
    times_noise,
)
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, half_turned
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.parameter_search import present_value, varied
from ptylive.schema import Origin
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.preset import Preset

FAR_LESS = 0.8
"""Ratio of losses below which the other half turn leaves far less: for right ones the other leaves more."""
SOME = 1.1
"""Ratio of the loss to that of counting noise above which a half turn that the maps left undecided is tested."""
LESS = 0.97
"""Ratio of losses below which it is given up where no more is left than the usual faults of a model; otherwise wrong
minima mislead: 0.972 was once the ratio of a wrong half turn to a right one (docs/measured/automatic/depth.md)."""


class OtherHalfTurn(Alternative):
    """The scan turned by 180°, with its aberrations reversed, refined from the other side."""

    name = "the other half turn"

    def less(self, incumbent: Incumbent) -> float:
        """Ratio of losses below which it is adopted."""
        return FAR_LESS if residual_is_large(incumbent.record) else LESS

    def is_tested(self, dataset: Dataset, preset: Preset) -> bool:
        """Whether nobody stated the half turn."""
        return may_run_again(preset) and half_turn_is_open(dataset, preset)

    def is_called_for(self, incumbent: Incumbent) -> bool:
        """Whether far more than noise is left, or anything at all under a half turn that the maps did not determine."""
        left = residual_is_above(SOME, incumbent.record)
        return residual_is_large(incumbent.record) or (left and _was_undecided(incumbent))

    def checkpoint(self, path: Path) -> Path:
        """The checkpoint under the other half turn."""
        return checkpoints.of_other_half_turn(path)

    def of(self, first: Incumbent, middle: Dataset, context: TrialContext) -> Callable[[Dataset], RunPlan] | None:
        """Return a function that turns data."""
        del middle, context

        def turned(dataset: Dataset) -> RunPlan:
            # the entrance surface of one is the exit surface of the other
            other, preset = half_turned(dataset), first.record.preset
            entrance_A = present_value(other, preset, Scanned.DEFOCUS) + sum(preset.object.slice_thickness_A)
            other, preset = varied(other, preset, Scanned.DEFOCUS, entrance_A)
            state = first.plan.relative_to_given(first.record)
            words = _words(other, first, turns_back=state.half_turn)
            return RunPlan(
                other,
                preset,
                decided=True,
                words=(words,),
                half_turn=not state.half_turn,
                orientation=state.orientation,
                curves=state.curves,
            )

        return turned


def _was_undecided(incumbent: Incumbent) -> bool:
    """Whether the maps left the half turn undecided."""
    return incumbent.plan.dataset.calibration.origin("rotation_deg") is Origin.UNDECIDED


def _words(turned: Dataset, first: Incumbent, *, turns_back: bool) -> str:
    """Explain in words why the other half turn is refined."""
    calibration = turned.calibration
    name = half_turn_words(calibration.rotation_deg, calibration.aberrations["C10"])
    name = "no half turn" if turns_back else name
    times = first.record.result.loss_over_noise
    return f"{name}: the first run ended at {times_noise(times)}"
