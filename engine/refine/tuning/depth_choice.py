"""Thickness of the specimen and number of its slices, chosen by the loss on held-out patterns.

A specimen is thin until the patterns say otherwise. Several slices bring more than depth: another form of the object,
other steps, twice the parameters. So nothing is compared with one slice: two slices a depth of focus apart are
compared with the same two slices next to each other, and with half as far apart, which is better for what is thinner
than three quarters. Where depth predicts patterns better, the thickness is doubled for
as long as that helps, and read from the parabola through the best one and its neighbours, half such a step away.

The scale is the depth of focus, wavelength / semi-angle^2: a specimen much thinner looks the same from top to bottom.
A defocus that was estimated is that of the middle of the specimen; one that was given is that of its entrance.

Where rotation and defocus were both estimated, everything is tried under both half turns (:mod:`half_turn`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.half_turn import FOUND, half_turned, is_open, start_half_turned
from ptylive.engine.refine.tuning.half_turn_choice import SETTLED_SWEEPS, WORTH, is_worth, with_half_turn
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import (
    Tuned,
    depth_of_focus_A,
    of_trials,
    present_value,
    varied,
    vertex,
)
from ptylive.schema import MetadataError
from ptylive.schema.advice.depth import FoundDepth
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.kinds import Auto
from ptylive.schema.preset.object import MOST_SLICES

NOTHING = 0.05
"""Thickness, in depths of focus, at which two slices are as good as one."""
FIRST = 1.0
"""Thickness, in depths of focus, that has to be better than nothing."""
LESS = 0.5
"""And better than this: of a loss that is a parabola in the thickness, that of three quarters and more is. What is
thinner is one plane to the microscope, and slices bring it more parameters than depth. And this better than nothing:
what jumps is no depth that slices describe. An estimated defocus may be off
by half a depth of focus, and of two slices a whole one apart one is then in its place: so this has to be better than
nothing there."""
LEAST_POWER, LARGEST_POWER = -2.0, 4.0
"""Then thicknesses are tried between these powers of 2 depths of focus."""
THICKEST_A = 2000.0
"""Nothing thicker is tried: few electrons get through more without a loss; what predicts better is something else."""
SLICES_PER_DEPTH, COARSE_SLICES = 3, 6
THINNEST = 0.25
"""A given thickness below this is one slice."""
CLEAR = 0.02
"""Share by which more depth predicts better that no blur of the probe brings: particles, in one mode, reach 0.005."""
HOPELESS_SHARE, HOPELESS_DEVIATIONS = 0.25, 4.0
"""After one sweep a gain that is below this share of what is asked for, by that many standard deviations, is given up:
of the thick specimens of the zoo each showed four times as much by then."""
FINE = 0.5
"""Step, in powers of 2, between the thicknesses that are tried last."""
GATE_PATTERNS, SWEEPS = 512, 3
"""Patterns of the first comparison, which every thin specimen pays for; sweeps of every trial."""


def with_given_depth(dataset: Dataset, preset: Preset) -> Preset:
    """The preset with its slices, where it leaves them open and gives a thickness or several distances between them.

    Raises MetadataError for an impossible number of them.
    """
    form, depth_A = preset.object, depth_of_focus_A(dataset)
    if form.num_slices != "auto":
        return preset
    if form.slices > 1:  # several distances
        return _with_slices(preset, form.slices)
    if form.total_thickness_A is None:
        return preset
    depths = 0.0 if depth_A is None else form.total_thickness_A / depth_A
    return _with_slices(preset, _slices_of(preset, form.total_thickness_A, depths))


def with_found_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """Slices and thickness that a preset leaves open, by trials; an estimated defocus becomes that of the entrance."""
    dataset, preset = tuned.dataset, tuned.preset
    if preset.object.num_slices != "auto":
        return tuned
    depth_A = depth_of_focus_A(dataset)
    if depth_A is None or not _can_be_tried(dataset, preset):
        return replace(tuned, preset=_with_slices(preset, 1))
    if FIRST * depth_A > THICKEST_A:
        words = f"one slice: only {FIRST * depth_A:.3g} Å of depth would show"
        return replace(tuned, preset=_with_slices(preset, 1), words=(*tuned.words, words))
    begun, why = _gate(tuned, context, depth_A)
    if begun is None:
        return replace(tuned, preset=_with_slices(preset, 1), words=(*tuned.words, f"one slice: {why}"))
    halves = _of_halves(begun, context, depth_A, TRIAL_PATTERNS, 1)
    found = [trials.coarse() for trials in halves]
    finer = _of_halves(begun, context, depth_A, TRIAL_PATTERNS, preset.probe.probe_modes)
    tuned, turned = with_half_turn(
        begun,
        [coarse.loss for coarse in found],
        lambda: [trials.settled(2.0**coarse.power, COARSE_SLICES) for trials, coarse in zip(finer, found, strict=True)],
    )
    best = finer[turned].fine(found[turned])
    thickness_A = best.depths * depth_A
    thick, preset = thickened(tuned.dataset, preset, thickness_A, _slices_of(preset, thickness_A, best.depths))
    told = FoundDepth(preset.object.slices, thickness_A, thickness_A / best.factor, thickness_A * best.factor)
    words = f"{told}: already {why}"
    if thick is not tuned.dataset:
        words += f"; defocus of the entrance {present_value(thick, preset, Scanned.DEFOCUS):.3g} Å"
    words += "; it may be thicker still: give total_thickness_A" if best.largest else ""
    return replace(tuned, dataset=thick, preset=preset, words=(*tuned.words, words))


def _gate(tuned: Tuned, context: TrialContext, depth_A: float) -> tuple[Tuned | None, str]:
    """What depth is seen from (None: from nothing), and in words why.

    One mode takes the blur of a source for depth, and so shows depth first: where it shows none there is none, for a
    quarter of the time. What it shows and no blur explains has to be there with as many modes as the run begins with.
    """
    least, whole = (f"{depths * depth_A:.3g} Å of depth" for depths in (_first(tuned.dataset), FIRST))
    no_better = "would not predict patterns held out better"
    modes = tuned.preset.probe.probe_modes
    thin = _without_depth(tuned, context, depth_A, 1)
    seen = [
        (trials.gain(thin), half, begun, trials)
        for begun in (tuned, *_before_the_scan(tuned))
        for half, trials in enumerate(_of_halves(begun, context, depth_A, GATE_PATTERNS, 1))
    ]
    gain, half, begun, trials = max(seen, key=lambda one: one[0].share)
    if not any(is_worth(one[0]) for one in seen):
        return None, f"{least} {no_better} (gain {seen[0][0]})"
    more = trials.gain_of_more()
    if modes != 1 and not (more.certain and more.share > CLEAR):
        thin = _without_depth(tuned, context, depth_A, modes)
        trials = _of_halves(begun, context, depth_A, GATE_PATTERNS, modes)[half]
        gain = trials.gain(thin)
        if not is_worth(gain):
            return None, f"{least} {no_better} (gain {gain})"
        more = trials.gain_of_more()
    if not more.certain:
        return None, f"{whole} {no_better} than half of it (gain {more})"
    half_of_it = trials.gain_of_half(thin)
    if half_of_it.share <= 0:
        return None, f"half of {whole} {no_better} (gain {half_of_it}), which the whole does"
    return begun, f"{least} predict patterns held out better by {gain}"


def _without_depth(tuned: Tuned, context: TrialContext, depth_A: float, modes: int | Auto) -> _Trials:
    """To compare with: of two slices next to each other half turns are one."""
    return _of_halves(tuned, context, depth_A, GATE_PATTERNS, modes)[0]


def _first(dataset: Dataset) -> float:
    """The thickness, in depths of focus, that has to be better than nothing."""
    return LESS if dataset.calibration.origin("C10") in FOUND else FIRST


def _before_the_scan(tuned: Tuned) -> tuple[Tuned, ...]:
    """The same with the defocus that the maps had, where short trials of one slice changed it.

    In a thick crystal they prefer a plane nearer to the entrance, by up to a depth of focus, and depth is not seen from
    there.
    """
    moved = [curve for curve in tuned.curves if curve.quantity is Scanned.DEFOCUS and curve.applied]
    if not moved or tuned.dataset.calibration.origin("C10") not in FOUND:
        return ()
    dataset, _ = varied(tuned.dataset, tuned.preset, Scanned.DEFOCUS, moved[0].start)
    words = f"again from the defocus of {moved[0].start:.4g} Å, through a thick specimen"
    return (replace(tuned, dataset=dataset, words=(*tuned.words, words)),)


def with_told_depth(tuned: Tuned, context: TrialContext) -> Tuned:
    """The half turn that depth settles where it is open and the preset says how thick the specimen is."""
    form, depth_A = tuned.preset.object, depth_of_focus_A(tuned.dataset)
    if (
        depth_A is None
        or form.slices == 1
        or not is_open(tuned.dataset, tuned.preset)
        or not _can_be_tried(tuned.dataset, tuned.preset)
    ):
        return tuned
    depths = sum(form.slice_thickness_A) / depth_A
    halves = _of_halves(tuned, context, depth_A, TRIAL_PATTERNS, tuned.preset.probe.probe_modes)
    losses = [trials.loss(depths, form.slices) for trials in halves]
    return with_half_turn(tuned, losses, lambda: [trials.settled(depths, form.slices) for trials in halves])[0]


def _of_halves(tuned: Tuned, context: TrialContext, depth_A: float, patterns: int, modes: int | Auto) -> list[_Trials]:
    """Trials on the middle of a scan as it is, and under the other half turn where that is open."""
    part, preset = context.seen.central_part(tuned.dataset, patterns), tuned.preset
    preset = preset.model_copy(update={"probe_modes": modes})
    trials = [_Trials(part, preset, context, depth_A)]
    if is_open(part, preset):
        turned = replace(context, start=start_half_turned(context.start))
        trials.append(_Trials(half_turned(part), preset, turned, depth_A, "the other half turn, "))
    return trials


def with_depth_of(dataset: Dataset, preset: Preset, slices: int, thickness_A: float) -> tuple[Dataset, Preset]:
    """Data set and preset with the slices and the thickness that an earlier run found, where the preset leaves them.

    The calibration is the one that the earlier run began with.
    """
    preset = with_given_depth(dataset, preset)
    if preset.object.num_slices != "auto":
        return dataset, preset
    if slices == 1:
        return dataset, _with_slices(preset, 1)
    return thickened(dataset, preset, thickness_A, slices)


def slices_for(depths: float) -> int:
    """Slices of a specimen whose thickness is given in depths of focus."""
    return max(2, math.ceil(SLICES_PER_DEPTH * depths))


def slices_of_thickness(depths: float) -> int:
    """The same, and one slice for what is thinner than a part of a depth of focus."""
    return slices_for(depths) if depths > THINNEST else 1


def thickened(dataset: Dataset, preset: Preset, thickness_A: float, slices: int) -> tuple[Dataset, Preset]:
    """Data set and preset of a specimen of some thickness, whose middle is where one slice was."""
    changed = {"num_slices": slices, "total_thickness_A": thickness_A, "slice_distances_A": None}
    if dataset.calibration.origin("C10") in FOUND:
        entrance_A = present_value(dataset, preset, Scanned.DEFOCUS) + thickness_A / 2
        dataset, preset = varied(dataset, preset, Scanned.DEFOCUS, entrance_A)
    return dataset, preset.model_copy(update=changed)


def _slices_of(preset: Preset, thickness_A: float, depths: float) -> int:
    """Slices of a thickness, also given in depths of focus: at the distance that is given, or as depth needs.

    Raises MetadataError for more than any preset may have.
    """
    distances_A = preset.object.slice_distances_A
    slices = slices_of_thickness(depths)
    if distances_A is not None:
        slices = max(1, round(thickness_A / distances_A[0]))
    if slices > MOST_SLICES:
        said = f"a thickness of {thickness_A:g} Å would be cut into {slices} slices, at most {MOST_SLICES} are possible"
        raise MetadataError(said, "look at total_thickness_A and slice_distances_A (Å), or give num_slices")
    return slices


def _with_slices(preset: Preset, slices: int) -> Preset:
    return preset.model_copy(update={"num_slices": slices})


def _can_be_tried(dataset: Dataset, preset: Preset) -> bool:
    """Whether there are patterns enough, and a model that depth has a meaning in."""
    frames = dataset.masks is None and len(dataset.patterns) >= LEAST_PATTERNS
    return frames and preset.refined.update_obj and not preset.propagation.near_field


def _doubt(powers: tuple[float, ...], losses: DoubleArray) -> float:
    """How far off the vertex of losses (powers, groups) may be: half a step, and two standard deviations by groups.

    The standard deviation is the jackknife's (Efron and Stein 1981): each group left out once.
    """
    groups = losses.shape[1]
    if groups < 2:
        return 0.5 * FINE
    vertices = [vertex(powers, np.delete(losses, one, axis=1).mean(axis=1)) for one in range(groups)]
    return math.hypot(0.5 * FINE, 2 * math.sqrt((groups - 1) * float(np.var(vertices))))


@dataclass(frozen=True)
class Coarse:
    """The thickness that predicts patterns best among powers of 2 depths of focus, and whether more was never tried."""

    power: float
    largest: bool
    loss: HeldOutLoss
    """In ``COARSE_SLICES`` slices, to be compared with others in as many."""


@dataclass(frozen=True)
class Best:
    """The thickness that predicts patterns best, in depths of focus, and whether more was never tried."""

    depths: float
    largest: bool
    doubt: float = 0.5 * FINE
    """How far off it may be, in powers of 2."""

    @property
    def factor(self) -> float:
        """The same as a factor."""
        return float(2.0**self.doubt)


class _Trials:
    """Losses of thicknesses, in depths of focus, on the same patterns."""

    def __init__(self, part: Dataset, preset: Preset, context: TrialContext, depth_A: float, under: str = "") -> None:
        self._under = under
        trial = preset.model_copy(update=TRIAL_SETTINGS)
        self._part, self._preset = part, of_trials(trial, preset.probe.probe_modes, frames=True)
        self._context, self._depth_A = context, depth_A
        self._largest = min(LARGEST_POWER, math.log2(THICKEST_A / depth_A))
        self._losses: dict[tuple[float, int], HeldOutLoss] = {}
        self._begun: dict[tuple[float, int], tuple[Trial, SweepState]] = {}
        """Of two slices, after the first sweep."""
        self._firsts: dict[float, HeldOutLoss] = {}

    def gain(self, thin: _Trials) -> Gain:
        """Of two slices apart over two that are next to each other: after one sweep where no depth will be seen."""
        depths = _first(self._part)
        early = Gain.over(thin.first_loss(NOTHING).groups, self.first_loss(depths).groups)
        if early.share + HOPELESS_DEVIATIONS * early.deviation < HOPELESS_SHARE * WORTH:
            return early
        return Gain.over(thin.loss(NOTHING, 2).groups, self.loss(depths, 2).groups)

    def gain_of_more(self) -> Gain:
        """Of two slices a depth of focus apart over two that are half as far apart."""
        return Gain.over(self.loss(LESS, 2).groups, self.loss(FIRST, 2).groups)

    def gain_of_half(self, thin: _Trials) -> Gain:
        """Of two slices half as far apart over two that are next to each other."""
        return Gain.over(thin.loss(NOTHING, 2).groups, self.loss(LESS, 2).groups)

    def coarse(self) -> Coarse:
        """In whole powers of 2."""
        power = self._lowest(COARSE_SLICES, min(0.0, self._largest), 1.0)
        return Coarse(power, power + 1.0 > self._largest, self.loss(2.0**power, COARSE_SLICES))

    def fine(self, coarse: Coarse) -> Best:
        """In halves of them, from there."""
        slices = slices_for(2.0**coarse.power)
        power = self._lowest(slices, coarse.power, FINE)
        powers = (power - FINE, power, power + FINE)
        losses = np.array([self.loss(2.0**one, slices).groups for one in powers])
        depths = 2.0 ** vertex(powers, losses.mean(axis=1))
        return Best(depths, coarse.largest, _doubt(powers, losses))

    def _lowest(self, slices: int, power: float, step: float) -> float:
        """The power of 2 from which a step up or down predicts worse."""

        def loss(power: float) -> float:
            return self.loss(2.0**power, slices).mean

        more = power + step <= self._largest and loss(power + step) < loss(power)
        way = step if more else -step
        while LEAST_POWER <= power + way <= self._largest and loss(power + way) < loss(power):
            power += way
        return power

    def first_loss(self, depths: float) -> HeldOutLoss:
        """Of two slices, after the first sweep."""
        if depths not in self._firsts:
            self._context.before(self._words(depths, 2))
            trial = self._trial(depths, 2)
            state, self._firsts[depths] = trial.continued(None, 1, trial.enough(SWEEPS), self._context)
            self._begun[depths, 2] = trial, state
        return self._firsts[depths]

    def loss(self, depths: float, slices: int) -> HeldOutLoss:
        """Of as many slices as those it is compared with: more of them predict better by themselves."""
        key = depths, slices
        if key not in self._losses:
            self._context.before(self._words(depths, slices))
            trial, state = self._begun.pop(key, None) or (self._trial(depths, slices), None)
            sweeps = trial.enough(SWEEPS)
            self._losses[key] = trial.continued(state, sweeps, sweeps, self._context)[1]
        return self._losses[key]

    def settled(self, depths: float, slices: int) -> HeldOutLoss:
        """The same after more sweeps."""
        self._context.before(f"{self._words(depths, slices)}, longer")
        trial = self._trial(depths, slices)
        sweeps = trial.enough(SETTLED_SWEEPS)
        return trial.continued(None, sweeps, sweeps, self._context)[1]

    def _words(self, depths: float, slices: int) -> str:
        return f"{self._under}{depths * self._depth_A:.3g} Å of depth in {slices} slices"

    def _trial(self, depths: float, slices: int) -> Trial:
        changed, settings = thickened(self._part, self._preset, depths * self._depth_A, slices)
        return Trial.of(changed, settings, self._context)
