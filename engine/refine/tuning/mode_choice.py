"""Number of probe modes, chosen by the loss on held-out patterns.

Modes of a source that is not present blur what a coherent probe resolves, and one mode cannot describe a source that is
present. Several modes start with a source that is rarely the right one and settle while they are refined, so one mode
leads at first in any case. How much of its lead would last is read from the loss after some sweeps and twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, LossCourse, Trial, TrialContext
from ptylive.schema.preset import Preset
from ptylive.schema.preset.probe import ProbeSettings

TRIAL_PATTERNS, LEAST_PATTERNS = 1600, 256
"""Most patterns of a short trial, from the middle of the scan, and fewest of a scan that any are made for."""
MODE_PATTERNS, CONFIRMING_PATTERNS = 512, 800
"""Most patterns of trials of one mode against two, and against all modes where one is better than two. Where they leave
the choice uncertain, several modes are kept, which do less harm."""
TRIAL_SWEEPS = 2
"""Sweeps before the first loss that a lead is extrapolated from; the second is read after twice as many."""
SEVERAL = 2
"""Number of modes that represents several at first: the second mode holds what a source blurs. Only if one mode is then
better beyond doubt must it also be better than all of them."""
BEHIND = 4.0
"""Standard deviations by which one mode, which always leads at first, trails after one sweep if it stays behind."""
USUAL_FOCAL_SPREAD_A = ProbeSettings().focal_spread_A
"""Focal spread that is left to trials."""
TRIAL_SETTINGS = {
    "refine_drift": False,
    "update_probe_pos": False,
    "update_thickness": False,
    "opr_components": 0,
    "sweep_step": "auto",
    "probe_step": "auto",
    "batch_size": "auto",
}
"""Settings of trials, overriding the preset: decisions must not depend on the step length or the batch size."""


@dataclass(frozen=True)
class ModeChoice:
    """How well one mode and several predict held-out patterns."""

    several: int
    one_course: LossCourse
    several_course: LossCourse

    @property
    def gain(self) -> Gain:
        """Gain of one mode over several."""
        return self.one_course.lasting_gain(self.several_course)

    @property
    def modes(self) -> int:
        """Number of modes to use. Too many do less harm than too few: one must be better beyond doubt."""
        return 1 if self.gain.certain else self.several

    @property
    def reason(self) -> str:
        """The choice in words."""
        if self.modes == 1:
            return f"1 probe mode: predicts held-out patterns better than {self.several}, by {self.gain}"
        return f"{self.several} probe modes: 1 would not predict held-out patterns better (gain {self.gain})"


def modes_or_one(preset: Preset) -> int:
    """Number of modes that is given, and one if it is open."""
    modes = preset.probe.probe_modes
    return 1 if isinstance(modes, str) else modes


def modes_for_several(preset: Preset) -> int:
    """Number of modes that represents several, and at most the requested number."""
    modes = preset.probe.probe_modes
    return SEVERAL if isinstance(modes, str) else min(modes, SEVERAL)


def settings_for_several(preset: Preset) -> dict[str, Any]:
    """Settings of trials in this number of modes; a wider focal spread than usual, which needs more, is not tried.

    In few modes it is worse than the usual one, and optics that are refined along make up for it.
    """
    modes = modes_for_several(preset)
    fewer = isinstance(preset.probe.probe_modes, int) and preset.probe.probe_modes > modes
    wide = fewer and preset.probe.focal_spread_A > USUAL_FOCAL_SPREAD_A
    return {"probe_modes": modes} | ({"focal_spread_A": USUAL_FOCAL_SPREAD_A} if wide else {})


def are_enough_frames(dataset: Dataset) -> bool:
    """Whether the patterns are frames, not coefficients, and enough of them to hold some out."""
    return dataset.masks is None and len(dataset.patterns) >= LEAST_PATTERNS


def may_be_tried(dataset: Dataset, preset: Preset) -> bool:
    """Whether an object is refined in the far field, from enough frames."""
    return preset.refined.update_obj and not preset.propagation.near_field and are_enough_frames(dataset)


def modes_are_given(probe: ProbeSettings) -> bool:
    """Whether the start modes are given, not those of a source and a focal spread."""
    return bool(probe.start_probe or probe.n_hermite_probe_modes or probe.defocus_spread_modes_A)


def choose_modes(dataset: Dataset, preset: Preset, context: TrialContext) -> ModeChoice | None:
    """Choose an open number of modes by short trials on the middle of the scan; None: leave the preset as it is."""
    if preset.probe.probe_modes != "auto" or not may_be_tried(dataset, preset):
        return None
    choice = _compared(dataset, preset, context, MODE_PATTERNS, SEVERAL)
    if choice is None or choice.modes > 1 or choice.several <= SEVERAL:
        return choice
    return _compared(dataset, preset, context, CONFIRMING_PATTERNS, choice.several)


def _compared(dataset: Dataset, preset: Preset, context: TrialContext, patterns: int, most: int) -> ModeChoice | None:
    """Compare one mode with at most ``most`` on the middle of the scan; None if the run would use one in any case."""
    part = context.cache.central_part(dataset, patterns)
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    measured = context.cache.measure(part, quick)
    several = decide(measured, quick, has_start=context.start is not None).coherence.modes
    if several == 1:
        return None
    numbers = (1, min(several, most))
    trials = [Trial.of(part, quick.model_copy(update={"probe_modes": modes}), context, measured) for modes in numbers]
    losses: list[list[HeldOutLoss]] = [[], []]
    states: list[SweepState | None] = [None, None]
    for sweeps in (1, TRIAL_SWEEPS, 2 * TRIAL_SWEEPS):
        for k, modes in enumerate(numbers):
            context.before(f"{modes} probe mode{'s' if modes > 1 else ''}")
            states[k], loss = trials[k].sweep_to(states[k], sweeps, 2 * TRIAL_SWEEPS, context)
            losses[k].append(loss)
        single, multiple = LossCourse(losses[0][-1]), LossCourse(losses[1][-1])
        lead = single.early_gain(multiple)
        if lead.opposite.exceeds(BEHIND) or not (lead.certain or sweeps == 1):  # the lead of one mode only shrinks
            return ModeChoice(several, single, multiple)
    return ModeChoice(several, LossCourse(*losses[0][1:]), LossCourse(*losses[1][1:]))


def with_chosen_modes(
    dataset: Dataset, preset: Preset, context: TrialContext, given: int | None
) -> tuple[Preset, ModeChoice | None]:
    """Decide the probe modes of the preset, and say how; ``given``: those of the earlier run that is continued."""
    if given is not None:
        return preset.model_copy(update={"probe_modes": given} if preset.probe.probe_modes == "auto" else {}), None
    choice = choose_modes(dataset, preset, context)
    return preset if choice is None else preset.model_copy(update={"probe_modes": choice.modes}), choice
