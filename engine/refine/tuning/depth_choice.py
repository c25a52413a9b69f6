"""Thickness of the specimen and number of its slices, chosen by the loss on held-out patterns.

A specimen is thin until the patterns say otherwise. Several slices bring more than depth: another form of the object,
other steps, twice the parameters. So nothing is compared with one slice: two slices some depths of focus apart are
compared with the same two slices next to each other. Where depth predicts patterns better, the thickness is doubled for
as long as that helps, and read from the parabola through the best one and its neighbours, half such a step away.

The scale is the depth of focus, wavelength / semi-angle^2: a specimen much thinner looks the same from top to bottom.
A defocus that was estimated is that of the middle of the specimen; one that was given is that of its entrance.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.tuning.held_out import Gain, HeldOutLoss, TrialContext, central_part, held_out_loss
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import (
    Tuned,
    depth_of_focus_A,
    of_trials,
    present_value,
    varied,
    vertex,
)
from ptylive.schema import Origin
from ptylive.schema.preset import Preset

NOTHING = 0.05
"""Thickness, in depths of focus, at which two slices are as good as one."""
FIRST = 0.5
"""Thickness, in depths of focus, that has to be better than nothing."""
LEAST_POWER, LARGEST_POWER = -2.0, 4.0
"""Then thicknesses are tried between these powers of 2 depths of focus."""
SLICES_PER_DEPTH, COARSE_SLICES = 3, 6
THINNEST = 0.25
"""A given thickness below this is one slice."""
WORTH = 0.005
"""Share by which patterns must be predicted better: the sheets of a single layer of MoS2 bring 0.001."""
GATE_PATTERNS, SWEEPS = 1024, 3
"""Patterns of the first comparison, which every thin specimen pays for; sweeps of every trial."""


def with_given_depth(dataset: Dataset, preset: Preset) -> Preset:
    """The preset with its slices, where it leaves them open and gives a thickness, or what lies between them."""
    form, depth_A = preset.object, depth_of_focus_A(dataset)
    thickness_A, distances_A = form.total_thickness_A, form.slice_distances_A
    if form.num_slices != "auto" or (thickness_A is None and distances_A is None):
        return preset
    if form.slices > 1 or thickness_A is None:  # several distances, or a single one without a thickness
        return _with_slices(preset, form.slices)
    if distances_A is not None:
        return _with_slices(preset, max(1, round(thickness_A / distances_A[0])))
    depths = 0.0 if depth_A is None else thickness_A / depth_A
    return _with_slices(preset, slices_for(depths) if depths > THINNEST else 1)


def with_found_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """Slices and thickness that a preset leaves open, by trials; an estimated defocus becomes that of the entrance."""
    dataset, preset = tuned.dataset, tuned.preset
    if preset.object.num_slices != "auto":
        return tuned
    depth_A = depth_of_focus_A(dataset)
    if depth_A is None or not _can_be_tried(dataset, preset):
        return replace(tuned, preset=_with_slices(preset, 1))
    least = f"{FIRST * depth_A:.3g} Å of depth"
    gain = _Trials(central_part(dataset, GATE_PATTERNS), preset, context, depth_A).gain(over=NOTHING, of=FIRST)
    if not (gain.certain and gain.share > WORTH):
        words = f"one slice: {least} would not predict patterns held out better (gain {gain})"
        return replace(tuned, preset=_with_slices(preset, 1), words=(*tuned.words, words))
    depths, largest = _Trials(central_part(dataset, TRIAL_PATTERNS), preset, context, depth_A).best()
    thick, preset = thickened(dataset, preset, depths * depth_A, slices_for(depths))
    words = f"{preset.object.slices} slices, {depths * depth_A:.3g} Å"
    words += f": already {least} predict patterns held out better by {gain}"
    if thick is not dataset:
        words += f"; defocus of the entrance {present_value(thick, preset, Scanned.DEFOCUS):.3g} Å"
    words += "; it may be thicker still: give total_thickness_A" if largest else ""
    return replace(tuned, dataset=thick, preset=preset, words=(*tuned.words, words))


def with_depth_of(preset: Preset, slices: int, thickness_A: float) -> Preset:
    """The preset with the slices and the thickness of an earlier run, where it leaves them open."""
    if preset.object.num_slices != "auto":
        return preset
    given = {"total_thickness_A": thickness_A, "slice_distances_A": None} if slices > 1 else {}
    return preset.model_copy(update={"num_slices": slices, **given})


def slices_for(depths: float) -> int:
    """Slices of a specimen whose thickness is given in depths of focus."""
    return max(2, math.ceil(SLICES_PER_DEPTH * depths))


def thickened(dataset: Dataset, preset: Preset, thickness_A: float, slices: int) -> tuple[Dataset, Preset]:
    """Data set and preset of a specimen of some thickness, whose middle is where one slice was."""
    changed = {"num_slices": slices, "total_thickness_A": thickness_A, "slice_distances_A": None}
    if dataset.calibration.origin("C10") is Origin.ESTIMATED:
        entrance_A = present_value(dataset, preset, Scanned.DEFOCUS) + thickness_A / 2
        dataset, preset = varied(dataset, preset, Scanned.DEFOCUS, entrance_A)
    return dataset, preset.model_copy(update=changed)


def _with_slices(preset: Preset, slices: int) -> Preset:
    return preset.model_copy(update={"num_slices": slices})


def _can_be_tried(dataset: Dataset, preset: Preset) -> bool:
    """Whether there are patterns enough, and a model that depth has a meaning in."""
    frames = dataset.masks is None and len(dataset.patterns) >= LEAST_PATTERNS
    return frames and preset.refined.update_obj and not preset.propagation.near_field


class _Trials:
    """Losses of thicknesses, in depths of focus, on the same patterns."""

    def __init__(self, part: Dataset, preset: Preset, context: TrialContext, depth_A: float) -> None:
        trial = preset.model_copy(update=TRIAL_SETTINGS)
        self._part, self._preset = part, of_trials(trial, preset.probe.probe_modes, frames=True)
        self._context, self._depth_A = context, depth_A
        self._losses: dict[tuple[float, int], HeldOutLoss] = {}

    def gain(self, *, over: float, of: float) -> Gain:
        """Of two slices so far apart over the same ones at another distance."""
        near, far = (self._loss(depths, 2) for depths in (over, of))
        return Gain.of(np.subtract(near.groups, far.groups), near.mean)

    def best(self) -> tuple[float, bool]:
        """Thickness in depths of focus, and whether more was never tried: in whole powers of 2, then in halves."""
        power = self._lowest(COARSE_SLICES, 0.0, 1.0)
        largest = power == LARGEST_POWER
        slices = slices_for(2.0**power)
        power = self._lowest(slices, power, 0.5)
        powers = (power - 0.5, power, power + 0.5)
        return 2.0 ** vertex(powers, [self._loss(2.0**one, slices).mean for one in powers]), largest

    def _lowest(self, slices: int, power: float, step: float) -> float:
        """The power of 2 from which a step up or down predicts worse."""

        def loss(power: float) -> float:
            return self._loss(2.0**power, slices).mean

        way = step if loss(power + step) < loss(power) else -step
        while LEAST_POWER <= power + way <= LARGEST_POWER and loss(power + way) < loss(power):
            power += way
        return power

    def _loss(self, depths: float, slices: int) -> HeldOutLoss:
        """Of as many slices as those it is compared with: more of them predict better by themselves."""
        key = depths, slices
        if key not in self._losses:
            self._context.before(f"{depths * self._depth_A:.3g} Å of depth in {slices} slices")
            changed, settings = thickened(self._part, self._preset, depths * self._depth_A, slices)
            self._losses[key] = held_out_loss(changed, settings, SWEEPS, self._context)
        return self._losses[key]
