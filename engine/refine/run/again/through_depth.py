"""Several slices, tested when a finished refinement in one slice leaves far more than counting noise.

In thick crystals short trials may see no depth at all: their focus or half turn is still wrong, and slices converge too
slowly to show it. What one slice leaves at the end shows that something is lacking, and complete refinements through
one, two and four depths of focus show whether it is depth: each decides orientation, focus and form anew. A sheet, or
any specimen within its depth of focus, leaves as much in several slices as in one.

The phase of one slice may settle the half turn (:mod:`~ptylive.engine.refine.tuning.optics.skewed_phase`), and where
one slice is not enough that phase may be wrong. If much is left, four depths are therefore tried once more, with a half
turn that only depth decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.second_run import Alternative, Incumbent, RunPlan, may_run_again, times_noise
from ptylive.engine.refine.tuning.depth.depth_trials import THICKEST_A, slices_for
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import may_be_tried
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.advice.words import significant
from ptylive.schema.preset import Preset

MUCH, MORE = 1.5, 1.2
"""Ratios of the likelihood to that of counting noise above which one slice may be too little, and a thickness that is
better than one slice may be too small still. One slice leaves 1.5 to 7.5 in the thick crystals that trials took for
thin, sheets, particles and films up to 1.4 (docs/measured/automatic/depth.md)."""
LEAST_ERROR = 0.1
"""Relative error of the modelled counts above which depth may be what one slice lacks: 0.14 to 0.8 in the thick
crystals, 0.065 in particles of gold that left 1.5 times the noise because under many electrons small faults of a model
show."""
LESS = 0.9
"""Ratio of likelihoods below which several slices, or more of them, are adopted: 0.66 to 0.85 where they made a far
better object, 0.9 to 0.95, and 0.85 and 0.88 once each, where they made a worse one."""
STEP = 2.0
"""Ratio of the thicknesses that are compared."""


class ThroughDepth(Alternative):
    """The scan refined anew in several slices that reach through a number of depths of focus, or a given thickness."""

    measure: ClassVar[str] = "the loss by counts"
    as_given: ClassVar[bool] = True

    def __init__(self, depths: float | None, *, turned_by_depth: bool = False) -> None:
        """``depths``: thickness in depths of focus, for specimens whose thickness was not given; None: for others.

        ``turned_by_depth``: tried where the phase of one slice has settled the half turn, which it then does not.
        """
        self._depths, self._turned_by_depth = depths, turned_by_depth

    @property
    def name(self) -> str:
        """What is different, in words."""
        turned = " and a half turn that depth decides" if self._turned_by_depth else ""
        depths = "the given thickness" if self._depths is None else f"a thickness of {self._depths:g} depths of focus"
        return f"{depths}{turned}"

    def less(self, incumbent: Incumbent) -> float:
        """Ratio of likelihoods below which it is adopted."""
        del incumbent
        return LESS

    def is_tested(self, dataset: Dataset, preset: Preset) -> bool:
        """Whether the settings leave the number of slices open, and the patterns could show a depth."""
        form, depth_A = preset.object, dataset.calibration.depth_of_focus_A
        is_open = form.num_slices == "auto" and form.slice_distances_A is None and dataset.scan_of is None
        if not (is_open and may_run_again(preset) and may_be_tried(dataset, preset)) or depth_A is None:
            return False
        if self._depths is None or form.total_thickness_A is not None:
            return self._depths is None and form.total_thickness_A is not None
        return self._depths * depth_A <= THICKEST_A

    def is_called_for(self, incumbent: Incumbent) -> bool:
        """Whether much is left in one slice, or through half of this thickness, which was better than one slice."""
        result, depths = incumbent.record.result, incumbent.plan.depths
        left = result.likelihood_over_noise
        if result.state != "done" or left is None:
            return False
        errs = result.model_error is None or result.model_error > LEAST_ERROR
        if self._turned_by_depth:
            deep = depths is not None or incumbent.record.slices == 1
            return deep and incumbent.record.turned_by_phase and left > MUCH and errs
        if depths is None:
            return incumbent.record.slices == 1 and left > MUCH and errs
        return depths * STEP == self._depths and left > MORE

    def former(self, incumbent: Incumbent) -> str:
        """The slices that stood before it, in words."""
        slices = incumbent.record.slices
        return "one slice" if slices == 1 else f"{slices} slices"

    def ratio(self, other: RefineResult, present: RefineResult) -> float | None:
        """Ratio of the likelihoods of two finished runs; None unless they are known."""
        before, after = present.likelihood_over_noise, other.likelihood_over_noise
        if {present.state, other.state} != {"done"} or before is None or after is None:
            return None
        return after / before

    def checkpoint(self, path: Path) -> Path:
        """The checkpoint of the run through this thickness."""
        name = "told" if self._depths is None else f"depth{self._depths:g}"
        return checkpoints.through_depth(path, f"{name}-turned" if self._turned_by_depth else name)

    def of(self, first: Incumbent, middle: Dataset, context: TrialContext) -> Callable[[Dataset], RunPlan] | None:
        """Return a function from data, as given, to a run through this thickness."""
        del context
        depth_A, asked = middle.calibration.depth_of_focus_A, first.plan.preset
        if depth_A is None:
            return None
        left = first.record.result.likelihood_over_noise
        why = first.plan.why or f"one slice leaves {times_noise(left)}"
        if self._depths is None:
            thickness_A = float(asked.object.total_thickness_A or 0.0)
            slices = slices_for(thickness_A / depth_A)
            changes: dict[str, object] = {"num_slices": slices}
            words = f"{slices} slices, {significant(thickness_A, 3)} Å in total, as the given thickness requires: {why}"
        else:
            thickness_A, slices = self._depths * depth_A, slices_for(self._depths)
            refined = True if asked.refined.update_thickness == "auto" else asked.refined.update_thickness
            changes = {"num_slices": slices, "total_thickness_A": thickness_A, "update_thickness": refined}
            words = f"{FoundDepth(slices, thickness_A, thickness_A / STEP, thickness_A * STEP)}: {why}"
        preset = asked.model_copy(update=changes)

        def through_depth(dataset: Dataset) -> RunPlan:
            plan = RunPlan(dataset, preset, words=(words,), depths=self._depths, why=why)
            return replace(plan, turned_by_depth=self._turned_by_depth)

        return through_depth


THICKNESSES = (
    ThroughDepth(None),
    ThroughDepth(1.0),
    ThroughDepth(2.0),
    ThroughDepth(4.0),
    ThroughDepth(4.0, turned_by_depth=True),
)
"""Thicknesses in the order in which they are tested."""
