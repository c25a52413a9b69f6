"""Orientations that the maps could not exclude, judged by held-out patterns.

The bright field of a thick crystal is explained by wrong optics as well as by the right ones. Whole patterns are not,
once several slices allow for the multiple scattering that one slice cannot describe: one slice preferred the wrong
optics of 110 Å of SrTiO3 by 1 %, six slices the right ones by 2 to 62 % on six crystals of 78 to 224 Å.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.depth_trials import GATE_PATTERNS, AnyDepth
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.optics.freed_optics import with_optics
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.orientation_search import may_be_another, oriented
from ptylive.engine.refine.tuning.parameter_search import SMALLEST_SHARE, vertex
from ptylive.engine.refine.tuning.scans_apart import single_scan, single_scan_settings
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.calibration import C12, RivalOrientation
from ptylive.schema.preset import Preset

BEYOND_DOUBT = 3.0
"""Standard deviations by which the best of eight rivals must be better than the present orientation."""
HOPELESS = 4.0
"""Standard deviations by which adjacent slices predict worse where depth need not be tried any more."""
STEP_DEG = 3.0
"""Step of the angles tried around the best one: the maps find it within a degree or two."""


def with_likelier_rival(tuned: Tuned, context: TrialContext) -> Tuned:
    """Use a rival of the orientation of the maps if held-out patterns prefer it beyond doubt."""
    dataset, preset = tuned.dataset, tuned.preset
    depth_A, rivals = dataset.calibration.depth_of_focus_A, dataset.calibration.rivals
    if depth_A is None or not rivals or not may_be_another(dataset, preset):
        return tuned
    several = dataset.scan_of is not None  # the first scan is tilted least
    single = (single_scan(dataset, 0), single_scan_settings(preset, 0)) if several else (dataset, preset)
    contest = _Contest(*single, context, depth_A)
    found = contest.winner(rivals)
    if isinstance(found, str):
        return replace(tuned, words=(*tuned.words, found))
    turn_deg, doubt_deg = contest.followed(found.rival)
    orientation = Orientation(found.rival.mirrored, turn_deg)
    others = (
        f"one of {len(rivals)} that the maps could not exclude" if len(rivals) > 1 else "the maps did not exclude it"
    )
    why = f"{others}, and held-out patterns are predicted better with it, by {found.gain}"
    tuned = oriented(tuned, orientation, doubt_deg, why)
    return replace(tuned, dataset=_in_focus(tuned.dataset, found.rival))


@dataclass(frozen=True)
class _Winner:
    rival: RivalOrientation
    gain: Gain


class _Contest:
    """Trials of several orientations of the same patterns."""

    def __init__(self, dataset: Dataset, preset: Preset, context: TrialContext, depth_A: float) -> None:
        self._preset, self._context, self._depth_A = preset, context, depth_A
        part = context.cache.central_part(dataset, GATE_PATTERNS)
        self._parts = {False: part, True: Orientation(transposed=True, turn_deg=0.0).of(part)}

    def winner(self, rivals: Sequence[RivalOrientation]) -> _Winner | str:
        """The rival to use, or why the orientation stays."""
        present = AnyDepth(self._parts[False], self._preset, self._context, self._depth_A)
        trials = [(rival, self._trials(rival, self._turn_deg(rival))) for rival in rivals]
        losses = present.adjacent().groups
        left = [
            (rival, trial)
            for rival, trial in trials
            if not Gain.over(trial.adjacent().groups, losses).exceeds(HOPELESS)
        ]
        number = f"{len(rivals)} others" if len(rivals) > 1 else "the other one"
        unchanged = f"orientation unchanged: {number} that the maps could not exclude would not"
        if not left:
            return f"{unchanged} predict held-out patterns better"
        ranked = sorted(((trial.lowest(), rival) for rival, trial in left), key=lambda ranking: ranking[0].mean)
        best, rival = ranked[0]
        gain = Gain.over(present.lowest().groups, best.groups)
        if not gain.exceeds(BEYOND_DOUBT):
            return f"{unchanged} predict held-out patterns better ({gain})"
        if len(ranked) > 1 and not (over := Gain.over(ranked[1][0].groups, best.groups)).certain:
            return f"orientation unchanged: the patterns do not decide between others ({over})"
        return _Winner(rival, gain)

    def followed(self, rival: RivalOrientation) -> tuple[float, float]:
        """Turn of the best angle near that of a rival, and its uncertainty, degrees."""
        middle = self._turn_deg(rival)
        turns = [middle - STEP_DEG, middle, middle + STEP_DEG]
        losses = [self._trials(rival, turn).adjacent() for turn in turns]
        halves = [vertex(turns, [loss.halves[half] for loss in losses]) for half in (0, 1)]
        doubt = max(abs(halves[0] - halves[1]) / 2, SMALLEST_SHARE * STEP_DEG)
        return vertex(turns, [loss.mean for loss in losses]), doubt

    def _turn_deg(self, rival: RivalOrientation) -> float:
        return rival.rotation_deg - self._parts[rival.mirrored].calibration.rotation_deg

    def _trials(self, rival: RivalOrientation, turn_deg: float) -> AnyDepth:
        part = Orientation(transposed=False, turn_deg=turn_deg).of(self._parts[rival.mirrored])
        return AnyDepth(_in_focus(part, rival), self._preset, self._context, self._depth_A)


def _in_focus(dataset: Dataset, rival: RivalOrientation) -> Dataset:
    """Return the data set with the defocus of a rival and no astigmatism, where nobody stated them."""
    optics = {"C10": rival.c10_A, **dict.fromkeys(C12, 0.0)}
    return with_optics(dataset, {name: value for name, value in optics.items() if dataset.calibration.is_found(name)})
