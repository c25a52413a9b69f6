"""Number of probe modes, chosen by the loss on held-out patterns.

Modes of a source that is not there blur what a coherent probe resolves, and one mode cannot describe a source that is.
Several begin with a source that is rarely the right one and settle while they are refined, so that one mode is ahead at
first in any case. What it would keep is read from the loss after some sweeps and after twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import Course, HeldOutLoss, Trial, TrialContext
from ptylive.schema.preset import Preset

TRIAL_PATTERNS, LEAST_PATTERNS = 1600, 256
MODE_PATTERNS, CONFIRMING_PATTERNS, TRIAL_SWEEPS = 512, 800, 2
"""Of the trials of modes: where these do not tell, several modes are kept, which do less harm."""
SEVERAL = 2
"""As many stand for several at first: the second has what a source blurs. Only where one mode is then better beyond
doubt it has to be so over all of them too."""
BEHIND = 4.0
"""Standard deviations by which one mode, ahead at first in any case, is behind after one sweep where it stays so."""
TRIAL_SETTINGS = {
    "refine_drift": False,
    "update_probe_pos": False,
    "update_thickness": False,
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


def modes_for_several(preset: Preset) -> int:
    """As many as stand for several, and no more than are asked for."""
    modes = preset.probe.probe_modes
    return SEVERAL if isinstance(modes, str) else min(modes, SEVERAL)


def may_be_tried(dataset: Dataset, preset: Preset) -> bool:
    """Whether an object is refined far from the specimen, of frames that are enough to hold some of them out."""
    far = preset.refined.update_obj and not preset.propagation.near_field
    return far and dataset.masks is None and len(dataset.patterns) >= LEAST_PATTERNS


def choose_modes(dataset: Dataset, preset: Preset, context: TrialContext) -> ModeChoice | None:
    """The modes of a preset that leaves them open, by short trials on the middle of the scan; None: as it is."""
    if preset.probe.probe_modes != "auto" or not may_be_tried(dataset, preset):
        return None
    choice = _compared(dataset, preset, context, MODE_PATTERNS, SEVERAL)
    if choice is None or choice.modes > 1 or choice.several <= SEVERAL:
        return choice
    return _compared(dataset, preset, context, CONFIRMING_PATTERNS, choice.several)


def _compared(dataset: Dataset, preset: Preset, context: TrialContext, patterns: int, most: int) -> ModeChoice | None:
    """One mode with at most ``most`` on the middle of the scan; None where the run would have one in any case."""
    part = context.seen.central_part(dataset, patterns)
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    measured = context.seen.measure(part, quick)
    several = decide(measured, quick, has_start=context.start is not None).coherence.modes
    if several == 1:
        return None
    tried = (1, min(several, most))
    trials = [Trial.of(part, quick.model_copy(update={"probe_modes": modes}), context, measured) for modes in tried]
    both: list[list[HeldOutLoss]] = [[], []]
    states: list[SweepState | None] = [None, None]
    for sweeps in (1, TRIAL_SWEEPS, 2 * TRIAL_SWEEPS):
        for k, modes in enumerate(tried):
            context.before(f"{modes} probe mode{'s' if modes > 1 else ''}")
            states[k], loss = trials[k].continued(states[k], sweeps, 2 * TRIAL_SWEEPS, context)
            both[k].append(loss)
        one, others = Course(both[0][-1]), Course(both[1][-1])
        lead = one.early_gain(others)
        if lead.opposite.exceeds(BEHIND) or not (lead.certain or sweeps == 1):  # its lead only falls
            return ModeChoice(several, one, others)
    return ModeChoice(several, Course(*both[0][1:]), Course(*both[1][1:]))


def with_chosen_modes(
    dataset: Dataset, preset: Preset, context: TrialContext, given: int | None
) -> tuple[Preset, ModeChoice | None]:
    """The preset with its probe modes decided, and how; ``given``: those of an earlier run that is gone on from."""
    if given is not None:
        return preset.model_copy(update={"probe_modes": given} if preset.probe.probe_modes == "auto" else {}), None
    choice = choose_modes(dataset, preset, context)
    return preset if choice is None else preset.model_copy(update={"probe_modes": choice.modes}), choice
