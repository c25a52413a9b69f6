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
from ptylive.engine.refine.tuning.parameter_search import Tuned, present_value, varied
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
    if form.num_slices != "auto":
        return preset
    if form.slices > 1 or form.total_thickness_A is None:
        return preset if form.slices == 1 and form.slice_distances_A is None else _with_slices(preset, form.slices)
    if form.slice_distances_A is not None:
        return _with_slices(preset, max(1, round(form.total_thickness_A / form.slice_distances_A[0])))
    depths = 0.0 if depth_A is None else form.total_thickness_A / depth_A
    return _with_slices(preset, slices_for(depths) if depths > THINNEST else 1)


def with_found_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """Slices and thickness that a preset leaves open, by trials; an estimated defocus becomes that of the entrance."""
    dataset, preset = tuned.dataset, tuned.preset
    if preset.object.num_slices != "auto":
        return tuned
    depth_A = depth_of_focus_A(dataset)
    if depth_A is None or not _can_be_tried(dataset, preset):
        return replace(tuned, preset=_with_slices(preset, 1))
    trials = _Trials(dataset, preset, context, depth_A)
    gain = trials.first_gain()
    least = f"{FIRST * depth_A:.3g} Å of depth"
    if not _worth(gain):
        words = f"one slice: {least} would not predict patterns held out better (gain {gain})"
        return replace(tuned, preset=_with_slices(preset, 1), words=(*tuned.words, words))
    depths, largest = trials.best()
    dataset, preset = thickened(dataset, preset, depths * depth_A, slices_for(depths))
    found = f"{preset.object.slices} slices, {depths * depth_A:.3g} Å"
    words = f"{found}: already {least} predict patterns held out better by {gain}"
    words += "; it may be thicker still: give total_thickness_A" if largest else ""
    return replace(tuned, dataset=dataset, preset=preset, words=(*tuned.words, words))


def depth_of_focus_A(dataset: Dataset) -> float | None:
    """Wavelength / semi-angle^2; None where optics are missing."""
    semiangle_mrad, wavelength_A = (
        dataset.calibration.get("convergence_semiangle_mrad"),
        dataset.calibration.wavelength_A,
    )
    if not semiangle_mrad or not wavelength_A:
        return None
    return float(wavelength_A) / (1e-3 * float(semiangle_mrad)) ** 2


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
    """Losses of thicknesses, in depths of focus."""

    def __init__(self, dataset: Dataset, preset: Preset, context: TrialContext, depth_A: float) -> None:
        frames = {"algorithm": "lsq_sqrt"} if preset.loss.algorithm == "auto" else {}
        self._preset = preset.model_copy(update={**TRIAL_SETTINGS, **frames})
        self._dataset, self._context, self._depth_A = dataset, context, depth_A
        self._losses: dict[tuple[int, float, int], HeldOutLoss] = {}

    def first_gain(self) -> Gain:
        """Of some depth over none."""
        few = central_part(self._dataset, GATE_PATTERNS)
        return _gain(*(self._loss(few, depths, 2) for depths in (NOTHING, FIRST)))

    def best(self) -> tuple[float, bool]:
        """Thickness in depths of focus, and whether more was never tried: in whole powers of 2, then in halves."""
        part = central_part(self._dataset, TRIAL_PATTERNS)
        power = self._lowest(part, COARSE_SLICES, 0.0, 1.0)
        largest = power == LARGEST_POWER
        slices = slices_for(2.0**power)
        power = self._lowest(part, slices, power, 0.5)
        losses = [self._loss(part, 2.0**one, slices) for one in (power - 0.5, power, power + 0.5)]
        return 2.0 ** (power + 0.5 * _vertex([loss.mean for loss in losses])), largest

    def _lowest(self, part: Dataset, slices: int, power: float, step: float) -> float:
        """The power of 2 from which a step up or down predicts worse."""

        def loss(power: float) -> float:
            return self._loss(part, 2.0**power, slices).mean

        way = step if loss(power + step) < loss(power) else -step
        while LEAST_POWER <= power + way <= LARGEST_POWER and loss(power + way) < loss(power):
            power += way
        return power

    def _loss(self, part: Dataset, depths: float, slices: int) -> HeldOutLoss:
        """Of as many slices as those it is compared with: more of them predict better by themselves."""
        key = len(part.patterns), depths, slices
        if key not in self._losses:
            self._context.pause()
            changed, settings = thickened(part, self._preset, depths * self._depth_A, slices)
            self._losses[key] = held_out_loss(changed, settings, SWEEPS, self._context)
        return self._losses[key]


def _gain(thin: HeldOutLoss, thick: HeldOutLoss) -> Gain:
    return Gain.of(np.subtract(thin.groups, thick.groups), thin.mean)


def _worth(gain: Gain) -> bool:
    return gain.certain and gain.share > WORTH


def _vertex(losses: list[float]) -> float:
    """Where the parabola through losses at -1, 0 and 1 has its minimum, at most there."""
    below, middle, above = losses
    curvature = below - 2 * middle + above
    return float(np.clip(0.5 * (below - above) / curvature, -1, 1)) if curvature > 0 else 0.0
