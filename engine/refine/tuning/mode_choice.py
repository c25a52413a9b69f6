"""Number of probe modes, chosen by the loss on held-out patterns.

Modes of a source that is not there blur what a coherent probe resolves, and one mode cannot describe a source that is.
Several begin with a source that is rarely the right one and settle while they are refined, so that one mode is ahead at
first in any case. What it would keep is read from the loss after some sweeps and after twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide, measure
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import Course, HeldOutLoss, TrialContext, central_part, held_out_course
from ptylive.schema.preset import Preset

TRIAL_PATTERNS, LEAST_PATTERNS = 1600, 256
MODE_PATTERNS, TRIAL_SWEEPS = 800, 2
"""Of the trials of modes: where these do not tell, several modes are kept, which do less harm."""
TRIAL_SETTINGS = {
    "refine_drift": False,
    "update_probe_pos": False,
    "opr_components": 0,
    "sweep_step": "auto",
    "probe_step": "auto",
    "batch_size": "auto",
}
"""Of trials, whatever the preset's: what they decide must not depend on the length of a step, nor on the batch."""


@dataclass(frozen=True)
class ModeChoice:
    """How well one mode and several predict held-out patterns."""

    several: int
    one_course: Course
    several_course: Course

    @property
    def gain(self) -> Gain:
        """Of one mode."""
        return self.one_course.lasting_gain(self.several_course)

    @property
    def modes(self) -> int:
        """The number of modes to use. Too many do less harm than too few: one must be better beyond doubt."""
        return 1 if self.gain.certain else self.several

    @property
    def reason(self) -> str:
        """The choice in words."""
        if self.modes == 1:
            return f"1 probe mode: it predicts patterns held out better than {self.several}, by {self.gain} in the end"
        return f"{self.several} probe modes: 1 would not predict patterns held out better (gain {self.gain})"


def choose_modes(dataset: Dataset, preset: Preset, context: TrialContext) -> ModeChoice | None:
    """The modes of a preset that leaves them open, by short trials on the middle of the scan; None: as it is."""
    open_ = preset.probe.probe_modes == "auto" and preset.refined.update_obj and not preset.propagation.near_field
    if not open_ or dataset.masks is not None or len(dataset.patterns) < LEAST_PATTERNS:
        return None
    part = central_part(dataset, MODE_PATTERNS)
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    measured = measure(part, quick)
    several = decide(measured, quick, has_start=context.start is not None).coherence.modes
    if several == 1:
        return None
    courses: list[Course] = []

    def behind(early: HeldOutLoss) -> bool:
        """Whether one mode, ahead at first in any case, never was."""
        return bool(courses) and courses[0].early_gain(Course(early)).opposite.certain

    for modes in (1, several):
        context.before(f"{modes} probe mode{'s' if modes > 1 else ''}")
        settings = quick.model_copy(update={"probe_modes": modes})
        courses.append(held_out_course(part, settings, TRIAL_SWEEPS, context, measured, behind))
    return ModeChoice(several, courses[0], courses[1])


def with_chosen_modes(
    dataset: Dataset, preset: Preset, context: TrialContext, given: int | None
) -> tuple[Preset, ModeChoice | None]:
    """The preset with its probe modes decided, and how; ``given``: those of an earlier run that is gone on from."""
    if given is not None:
        return preset.model_copy(update={"probe_modes": given} if preset.probe.probe_modes == "auto" else {}), None
    choice = choose_modes(dataset, preset, context)
    return preset if choice is None else preset.model_copy(update={"probe_modes": choice.modes}), choice
