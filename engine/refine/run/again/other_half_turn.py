"""The other half turn, tested when a finished refinement leaves far more than counting noise.

Trials of a few sweeps through a thick crystal may prefer the wrong half turn: a crystal of several depths of focus
converges slowly, and upside down, in fewer slices, it seems better sooner. Silicon [110] of 230 Å left 13 times the
counting noise under the wrong half turn and 3 to 5 times under the right one, whose trials had been 8 % worse.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.second_run import Alternative, Standing, Way, may_run_again
from ptylive.engine.refine.tuning.half_turn import half_turned, is_open
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.parameter_search import present_value, varied
from ptylive.schema.advice.half_turn import half_turn_words
from ptylive.schema.preset import Preset

FAR_LESS = 0.8
"""Ratio of losses below which the other half turn leaves far less: for right ones the other leaves more."""


class OtherHalfTurn(Alternative):
    """The scan turned by 180°, with its aberrations reversed, refined from the other side."""

    name = "the other half turn"

    @property
    def less(self) -> float:
        """Ratio of losses below which it is adopted."""
        return FAR_LESS

    def is_tested(self, dataset: Dataset, preset: Preset) -> bool:
        """Whether nobody stated the half turn."""
        return may_run_again(preset) and is_open(dataset, preset)

    def checkpoint(self, path: Path) -> Path:
        """The checkpoint under the other half turn."""
        return checkpoints.of_other_half_turn(path)

    def of(self, first: Standing, middle: Dataset, context: TrialContext) -> Callable[[Dataset], Way] | None:
        """Return a function that turns data."""
        del middle, context

        def turned(dataset: Dataset) -> Way:
            # the entrance surface of one is the exit surface of the other
            other, preset = half_turned(dataset), first.ended.preset
            entrance_A = present_value(other, preset, Scanned.DEFOCUS) + sum(preset.object.slice_thickness_A)
            other, preset = varied(other, preset, Scanned.DEFOCUS, entrance_A)
            state = first.way.ended(first.ended)
            words = _words(other, first, turns_back=state.half_turn)
            return Way(
                other,
                preset,
                decided=True,
                words=(words,),
                half_turn=not state.half_turn,
                orientation=state.orientation,
                curves=state.curves,
            )

        return turned


def _words(turned: Dataset, first: Standing, *, turns_back: bool) -> str:
    """Explain in words why the other half turn is refined."""
    calibration = turned.calibration
    name = half_turn_words(calibration.rotation_deg, calibration.aberrations["C10"])
    name = "no half turn" if turns_back else name
    times = first.ended.result.loss_over_noise
    return f"{name}: the first run ended at {times:.3g} times the counting noise"
