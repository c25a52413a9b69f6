"""Orientation between scan and detector, if the maps left it open: by the loss on held-out patterns.

Centre of mass and bright field sample the object with the scan step. Whole patterns overlap many times over, and agree
with each other under one rotation and one handedness only, even in scans too coarse for any map. Both handednesses are
therefore tried at angles all around, on few patterns in the middle of the scan (the fewer, the less an angle moves
them, and the coarser the angles may be), and the best angle of each is refined with more of them.

One slice does not distinguish a rotation by 180° from the other sign of the defocus (:mod:`half_turn`); it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.half_turn import has_oriented_start
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, TrialContext, central_part, held_out_loss
from ptylive.engine.refine.tuning.mode_choice import are_enough_frames, modes_or_one
from ptylive.engine.refine.tuning.orientation import AS_IT_IS, Orientation
from ptylive.engine.refine.tuning.parameter_search import SMALLEST_SHARE, vertex
from ptylive.engine.refine.tuning.scans_apart import single_scan, single_scan_settings
from ptylive.engine.refine.tuning.trial_settings import in_one_slice, of_trials
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin
from ptylive.schema.advice.orientation import orientation_words
from ptylive.schema.calibration import FOUND
from ptylive.schema.preset import Preset

COARSE_PATTERNS, PATTERNS = 144, 576
"""Patterns in the middle of the scan, for all angles and for the best angle of each handedness."""
COARSE_STEP_DEG, FINE_STEPS_DEG = 15.0, (7.5, 4.0, 2.0)
"""Distances between the angles tried all around, and then to either side of the best one."""
APART = 0.25
"""Smallest difference between two angles, as a share of the step."""
FEW, MORE = 0, 1
"""The two parts of the scan, by index."""
SWEEPS, BATCHES = 2, 16
"""Sweeps of a trial, and least batches in a sweep."""
BEYOND_DOUBT = 4.0
"""Standard deviations by which the best of some fifty candidates must be better than the present orientation."""


def with_found_orientation(tuned: Tuned, context: TrialContext) -> Tuned:
    """Find rotation and handedness that the calibration left open, if the patterns show them beyond doubt."""
    dataset, preset = tuned.dataset, tuned.preset
    if not orientation_is_open(dataset, preset):
        return tuned
    several = dataset.scan_of is not None  # the first scan is tilted least
    single = (single_scan(dataset, 0), single_scan_settings(preset, 0)) if several else (dataset, preset)
    found = _Search(*single, replace(context, start=None)).best()
    if isinstance(found, str):
        return replace(tuned, words=(*tuned.words, found))
    why = f"the maps left it open, and held-out patterns are predicted better with it, by {found.gain}"
    return oriented(tuned, found.orientation, found.uncertainty_deg, why)


def oriented(tuned: Tuned, orientation: Orientation, uncertainty_deg: float, why: str) -> Tuned:
    """Return the data set in an orientation that trials found, which is no longer in question, and why in words."""
    dataset = orientation.of(tuned.dataset)
    rotation = replace(dataset.calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    rotation = replace(rotation, uncertainty=uncertainty_deg)
    transform = dataset.calibration.entries["detector_transform"]
    transform = replace(transform, origin=Origin.ESTIMATED) if transform.origin in FOUND else transform
    calibration = dataset.calibration.without_rivals().having(rotation_deg=rotation, detector_transform=transform)
    words = orientation_words(transform.value, rotation.value, uncertainty_deg, why)
    dataset = replace(dataset, calibration=calibration)
    return replace(tuned, dataset=dataset, orientation=orientation, words=(*tuned.words, words))


def orientation_is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether the calibration searched for the orientation without a decision, and whole patterns may decide it."""
    calibration = dataset.calibration
    rotation, transform = calibration.entries.get("rotation_deg"), calibration.entries.get("detector_transform")
    if rotation is None or transform is None or not may_be_another(dataset, preset):
        return False
    no_estimate = rotation.origin is Origin.UNDECIDED and rotation.uncertainty is None
    return no_estimate or transform.origin is Origin.UNDECIDED


def may_be_another(dataset: Dataset, preset: Preset) -> bool:
    """Whether nobody stated the rotation, or a start that implies it, and whole patterns can be compared."""
    return (
        dataset.calibration.is_found("rotation_deg")
        and not has_oriented_start(preset)
        and not preset.propagation.near_field
        and preset.refined.update_obj
        and (dataset.scan_of is None or preset.scans.scan_shifts_A is None)  # shifts are given in the present frame
        and are_enough_frames(dataset)
    )


@dataclass(frozen=True)
class _Found:
    orientation: Orientation
    uncertainty_deg: float
    gain: Gain


@dataclass(frozen=True)
class _Followed:
    """The best angle of one handedness."""

    orientation: Orientation
    uncertainty_deg: float
    loss: HeldOutLoss


class _Search:
    def __init__(self, dataset: Dataset, preset: Preset, context: TrialContext) -> None:
        self._context = context
        self._preset = of_trials(in_one_slice(preset), modes_or_one(preset), frames=True)
        parts = central_part(dataset, COARSE_PATTERNS), central_part(dataset, PATTERNS)
        mirrored = Orientation(transposed=True, turn_deg=0.0)
        self._parts = {False: parts, True: tuple(mirrored.of(part) for part in parts)}  # each prepared only once
        fixed = dataset.calibration.origin("detector_transform") not in FOUND
        self._hands = (False,) if fixed else (False, True)

    def best(self) -> _Found | str:
        """The orientation to use, or why there is none."""
        followed = sorted((self._followed(hand) for hand in self._hands), key=lambda candidate: candidate.loss.mean)
        first, present = followed[0], self._loss(MORE, AS_IT_IS)
        gain = Gain.over(present.groups, first.loss.groups)
        if not gain.exceeds(BEYOND_DOUBT):
            return f"rotation and handedness unchanged: no others would predict held-out patterns better ({gain})"
        if len(followed) > 1:
            over = Gain.over(followed[1].loss.groups, first.loss.groups)
            if not over.certain:
                return f"rotation and handedness unchanged: the patterns do not determine the handedness ({over})"
        return _Found(first.orientation, first.uncertainty_deg, gain)

    def _followed(self, hand: bool) -> _Followed:
        angles = np.arange(-180.0, 180.0, COARSE_STEP_DEG)
        losses = [self._loss(FEW, Orientation(hand, float(angle))).mean for angle in angles]
        middle = float(angles[int(np.argmin(losses))])
        fine: dict[float, HeldOutLoss] = {}
        for step in FINE_STEPS_DEG:
            near = [middle + k * step for k in (-1, 0, 1)]  # close to a known angle a parabola would follow the noise
            new = [angle for angle in near if all(abs(angle - tried) > APART * step for tried in fine)]
            fine |= {angle: self._loss(MORE, Orientation(hand, angle)) for angle in new}
            middle = _lowest(fine, None)
        halves = [_lowest(fine, half) for half in (0, 1)]
        orientation = Orientation(hand, middle)
        doubt = max(abs(halves[0] - halves[1]) / 2, SMALLEST_SHARE * FINE_STEPS_DEG[-1])
        return _Followed(orientation, doubt, self._loss(MORE, orientation))

    def _loss(self, part: int, orientation: Orientation) -> HeldOutLoss:
        hand = "transposed, " if orientation.transposed else ""
        self._context.before(f"{hand}turned by {orientation.turn_deg:.4g}°")
        turned = Orientation(transposed=False, turn_deg=orientation.turn_deg).of(
            self._parts[orientation.transposed][part]
        )
        return held_out_loss(turned, self._preset, SWEEPS, self._context, batches=BATCHES)


def _lowest(losses: dict[float, HeldOutLoss], half: int | None) -> float:
    """Angle of the lowest loss, over all groups or one half of them."""
    angles = sorted(losses)
    return vertex(angles, [losses[angle].mean if half is None else losses[angle].halves[half] for angle in angles])
