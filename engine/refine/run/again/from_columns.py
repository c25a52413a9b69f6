"""A start from columns, tested when a finished refinement from an empty object leaves far more than counting noise.

A thick crystal of heavy columns may be refined from an empty object into a wrong minimum, and columns that one slice
shows lead to the right one (:mod:`~ptylive.engine.refine.tuning.start.columns`). They may be slower: in trials of a few
sweeps and epochs, those of 214 Å of SrTiO3 predict held-out patterns worse by 2 to 6 %, but at the end of the run their
loss is 12 % lower, and the object agrees with the specimen by 0.95 instead of 0.34.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.second_run import Alternative, Incumbent, RunPlan, may_run_again, times_noise
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.parameter_search import varied
from ptylive.engine.refine.tuning.start.columns import likeliest_columns
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.cannot_tell import cannot_tell_sentences
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.preset import Preset
from ptylive.schema.preset.object import MOST_SLICES

MORE_SLICES = 1.5
"""Factor of the number of slices if it was left open: columns of 281 Å of silicon [110] (200 kV, 14.3 mrad) do not
reach the right minimum in slices of 36 Å, and do in slices of 28 Å."""
LESS = 0.98
"""Ratio of losses below which columns are adopted: runs that end in one minimum agree to this."""


class FromColumns(Alternative):
    """The same refinement from the columns that one slice shows, whether or not trials preferred them."""

    name = "a start from columns"

    def less(self, incumbent: Incumbent) -> float:
        """Ratio of losses below which it is adopted."""
        del incumbent
        return LESS

    def is_tested(self, dataset: Dataset, preset: Preset) -> bool:
        """Whether the settings leave the start open."""
        del dataset
        start = preset.start
        return may_run_again(preset) and not (
            start.start_object or start.start_phase_image or start.start_amplitude_image
        )

    def checkpoint(self, path: Path) -> Path:
        """The checkpoint of the run from columns."""
        return checkpoints.of_columns(path)

    def of(self, first: Incumbent, middle: Dataset, context: TrialContext) -> Callable[[Dataset], RunPlan] | None:
        """Return a function from data to a run from its columns; None if the first run began so, or trials rule it out.

        They do if an empty object predicts held-out patterns better, or the columns become the object of the first run.
        """
        if first.record.from_columns:
            return None
        preset = _in_more_slices(first)
        settled = Tuned(middle, preset)
        context = replace(context, start=None, warm_start=None)
        columns_of = likeliest_columns(settled, context, unlike=WarmStart.of(first.record.result))
        if columns_of is None:
            return None
        times = first.record.result.loss_over_noise
        why = f"the first run, from an empty object, ended at {times_noise(times)}"
        state = first.plan.relative_to_given(first.record)
        slices = preset.object.slices
        findings = tuple(_of_slices(words, slices) for words in first.record.words if not _is_found_again(words))

        def from_columns(dataset: Dataset) -> RunPlan:
            return RunPlan(
                dataset,
                preset,
                decided=True,
                words=findings,
                columns=columns_of(dataset, why),
                half_turn=state.half_turn,
                orientation=state.orientation,
                curves=state.curves,
            )

        return from_columns


def _in_more_slices(first: Incumbent) -> Preset:
    """The settings that the first run ended with, in more slices if their number was left open."""
    given, preset = first.plan.preset.object, first.record.preset
    if given.num_slices != "auto" or given.slice_distances_A is not None:
        return preset
    slices = min(MOST_SLICES, math.ceil(MORE_SLICES * preset.object.slices))
    return varied(first.plan.dataset, preset, Scanned.SLICES, slices)[1]


def _of_slices(words: str, slices: int) -> str:
    """The same finding, with this number of slices if it is a thickness."""
    found = FoundDepth.heard(words)
    return words if found is None else words.replace(str(found), str(replace(found, slices=slices)))


def _is_found_again(words: str) -> bool:
    """Whether the second run finds the same again: what its calibration contradicts, but not an open half turn."""
    return bool(cannot_tell_sentences(words)) and "half turn" not in words
