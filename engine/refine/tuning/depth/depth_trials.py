"""Trials of thicknesses, in depths of focus, by the loss on held-out patterns, and what is read from them.

The scale is the depth of focus, wavelength / semi-angle^2: a much thinner specimen looks the same from top to bottom.
Whole powers of 2 are tried first, in a fixed number of slices, and then half powers around the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, half_turned, start_half_turned
from ptylive.engine.refine.tuning.half_turn_choice import WORTH
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.optics.freed_optics import freeing_optics, optics_moved_A
from ptylive.engine.refine.tuning.parameter_search import present_value, varied, vertex
from ptylive.engine.refine.tuning.trial_settings import of_trials
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant
from ptylive.schema.calibration import FOUND
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset
from ptylive.schema.preset.kinds import Auto

NOTHING = 0.05
"""Thickness, in depths of focus, at which two slices are as good as one."""
FIRST = 1.0
"""Thickness, in depths of focus, that has to be better than no depth."""
LESS = 0.5
"""Thickness that FIRST also has to be better than: for a loss that is a parabola in the thickness, this is so from
three quarters on. A thinner specimen is one plane to the microscope, and slices add more parameters than depth. LESS in
turn has to be better than no depth: a sudden gain is no depth that slices describe. An estimated defocus may be off by
half a depth of focus, and of two slices a whole depth apart one then takes its place, so this has to be better than no
depth there."""
LEAST_POWER, LARGEST_POWER = -2.0, 4.0
"""Further thicknesses are tried between these powers of 2 depths of focus."""
THICKEST_A = 2000.0
"""Largest thickness tried: few electrons pass more without loss, so a better prediction has another cause."""
ANY_DEPTH = (1.0, 2.0, 4.0)
"""Thicknesses, in depths of focus, that optics of unknown depth are compared through. Two slices a single depth of
focus apart preferred an astigmatism that was not there in three crystals of 2.3 to 4.8, by 2 to 3 %; in six slices none
did (docs/measured/automatic/optics.md)."""
SLICES_PER_DEPTH, COARSE_SLICES = 3, 6
"""Number of slices per depth of focus in a trial of one thickness, and in all trials that search for it."""
HOPELESS_SHARE, HOPELESS_DEVIATIONS = 0.25, 4.0
"""After one sweep a gain below this share of the required gain, by that many standard deviations, is given up: thick
specimens of the zoo each showed four times as much by then."""
FINE = 0.5
"""Step, in powers of 2, between the thicknesses that are tried last."""
FREED_OPTICS = ("C10",)
"""Optics that trials may refine with the object: defocus and thickness can compensate each other. Astigmatism does not,
and after so few sweeps 1 to 3 Å of it were found where there is none."""
GATE_PATTERNS = 512
"""Number of patterns in comparisons of differences of a few per cent."""
SWEEPS, FREED_SWEEPS = 3, 6
"""Number of sweeps in every trial, and in those that refine optics with the object: after three sweeps few electrons
still prefer a thinner specimen."""


def slices_for(depths: float) -> int:
    """Number of slices of a specimen whose thickness is given in depths of focus."""
    return max(2, math.ceil(SLICES_PER_DEPTH * depths))


def thickened(dataset: Dataset, preset: Preset, thickness_A: float, slices: int) -> tuple[Dataset, Preset]:
    """Data set and preset for a specimen of some thickness, with its middle where the single slice was."""
    if dataset.calibration.origin("C10") in FOUND:
        entrance_A = present_value(dataset, preset, Scanned.DEFOCUS) + thickness_A / 2
        dataset, preset = varied(dataset, preset, Scanned.DEFOCUS, entrance_A)
    changed = {"num_slices": slices, "total_thickness_A": thickness_A, "slice_distances_A": None}
    return dataset, preset.model_copy(update=changed)


def _doubt(powers: tuple[float, ...], losses: DoubleArray) -> float:
    """Uncertainty of the vertex of losses (powers, groups): half a step, and two standard deviations over groups.

    The standard deviation is the jackknife's (Efron and Stein 1981): each group left out once.
    """
    groups = losses.shape[1]
    if groups < 2:
        return 0.5 * FINE
    vertices = [vertex(powers, np.delete(losses, group, axis=1).mean(axis=1)) for group in range(groups)]
    return math.hypot(0.5 * FINE, 2 * math.sqrt((groups - 1) * float(np.var(vertices))))


@dataclass(frozen=True)
class Coarse:
    """Best-predicting thickness among powers of 2 depths of focus, and whether larger ones were never tried."""

    power: float
    largest: bool
    loss: HeldOutLoss
    """Loss in ``COARSE_SLICES`` slices, for comparison with others in as many."""
    minimum: float | None = None
    """Power of 2 at the minimum of the parabola through it and its neighbours; None: ``power`` itself."""

    @property
    def nearest(self) -> float:
        """Nearest of the powers that are tried last."""
        return self.power if self.minimum is None else FINE * round(self.minimum / FINE)


@dataclass(frozen=True)
class Best:
    """Best-predicting thickness, in depths of focus, and whether larger ones were never tried."""

    depths: float
    largest: bool
    doubt: float = 0.5 * FINE
    """Uncertainty, in powers of 2."""
    moved_A: dict[str, float] = field(default_factory=dict)
    """How far the nearest trial has moved the optics of the middle, if it refines them."""

    @property
    def factor(self) -> float:
        """The uncertainty as a factor."""
        return float(2.0**self.doubt)


class DepthTrials:
    """Losses of thicknesses, in depths of focus, on the same patterns."""

    def __init__(
        self,
        part: Dataset,
        preset: Preset,
        context: TrialContext,
        depth_A: float,
        under: str = "",
        *,
        freed: bool = False,
    ) -> None:
        """``freed``: optics that nobody stated are refined with the object, from their present values."""
        self._under, self._freed = under, freed
        trial = preset.model_copy(update=TRIAL_SETTINGS)
        self._part, self._preset = part, of_trials(trial, preset.probe.probe_modes, frames=True)
        self._context, self._depth_A = context, depth_A
        self._largest = min(LARGEST_POWER, math.log2(THICKEST_A / depth_A))
        self._losses: dict[tuple[float, int], HeldOutLoss] = {}
        self._started: dict[tuple[float, int], tuple[Trial, SweepState]] = {}
        """Trials of two slices, after the first sweep."""
        self._settling: dict[tuple[float, int], tuple[Trial, SweepState]] = {}
        """Longer trials, as far as they were run."""
        self._firsts: dict[float, HeldOutLoss] = {}
        self._moved_A: dict[tuple[float, int], dict[str, float]] = {}
        """Changes of the optics in each trial that refines them."""

    @property
    def thickest_A(self) -> float:
        """Largest thickness that is tried."""
        return float(2.0**self._largest * self._depth_A)

    @property
    def modes(self) -> int | Auto:
        """Number of probe modes."""
        return self._preset.probe.probe_modes

    def gain(self, thin: DepthTrials, depths: float, *, hurried: bool = True) -> Gain:
        """Gain of two slices apart over two adjacent ones; after one sweep if no depth will be seen.

        Not ``hurried``: in trials to their end in any case.
        """
        if hurried:
            early = Gain.over(thin.first_loss(NOTHING).groups, self.first_loss(depths).groups)
            if early.share + HOPELESS_DEVIATIONS * early.deviation < HOPELESS_SHARE * WORTH:
                return early
        return Gain.over(thin.loss(NOTHING, 2).groups, self.loss(depths, 2).groups)

    def gain_of_more(self) -> Gain:
        """Gain of two slices a depth of focus apart over two that are half as far apart."""
        return Gain.over(self.loss(LESS, 2).groups, self.loss(FIRST, 2).groups)

    def gain_of_half(self, thin: DepthTrials) -> Gain:
        """Gain of two slices half as far apart over two adjacent ones."""
        return Gain.over(thin.loss(NOTHING, 2).groups, self.loss(LESS, 2).groups)

    def coarse(self) -> Coarse:
        """Find the best whole power of 2."""
        power = self._lowest(COARSE_SLICES, min(0.0, self._largest), 1.0)
        near = (power - 1.0, power, power + 1.0)
        around = [exponent for exponent in near if exponent == power or (2.0**exponent, COARSE_SLICES) in self._losses]
        minimum = vertex(around, [self.loss(2.0**exponent, COARSE_SLICES).mean for exponent in around])
        return Coarse(power, power + 1.0 > self._largest, self.loss(2.0**power, COARSE_SLICES), minimum)

    def fine(self, power: float, *, largest: bool = False) -> Best:
        """Find the best half power, starting there; ``largest``: larger thicknesses were never tried."""
        slices = slices_for(2.0**power)
        if self._freed:  # with few slices the plane takes up the depth they lack: 65 Å are 86 in three, 67 in six
            slices = max(COARSE_SLICES, slices)
        power = self._lowest(slices, power, FINE)
        powers = (power - FINE, power, power + FINE)
        losses = np.array([self.loss(2.0**exponent, slices).groups for exponent in powers])
        at = vertex(powers, losses.mean(axis=1))
        nearest = min(powers, key=lambda power: abs(power - at))
        return Best(2.0**at, largest, _doubt(powers, losses), self._moved_A.get((2.0**nearest, slices), {}))

    def _lowest(self, slices: int, power: float, step: float) -> float:
        """The power of 2 from which a step up or down predicts worse."""

        def loss(power: float) -> float:
            return self.loss(2.0**power, slices).mean

        more = power + step <= self._largest and loss(power + step) < loss(power)
        stride = step if more else -step
        while LEAST_POWER <= power + stride <= self._largest and loss(power + stride) < loss(power):
            power += stride
        return power

    def first_loss(self, depths: float) -> HeldOutLoss:
        """Loss of two slices after the first sweep."""
        if depths not in self._firsts:
            self._context.before(self._words(depths, 2))
            trial = self._trial(depths, 2)
            state, self._firsts[depths] = trial.sweep_to(None, 1, trial.enough_sweeps(SWEEPS), self._context)
            self._started[depths, 2] = trial, state
        return self._firsts[depths]

    def loss(self, depths: float, slices: int) -> HeldOutLoss:
        """Loss in a number of slices; compare only equal numbers, since more slices predict better in any case."""
        key = depths, slices
        if key not in self._losses:
            self._context.before(self._words(depths, slices))
            trial, state = self._started.pop(key, None) or (self._trial(depths, slices), None)
            sweeps = trial.enough_sweeps(FREED_SWEEPS if self._freed else SWEEPS)
            state, self._losses[key] = trial.sweep_to(state, sweeps, sweeps, self._context)
            if self._freed:
                self._moved_A[key] = optics_moved_A(trial, state)
        return self._losses[key]

    def settled(self, depths: float, slices: int, sweeps: int, most: int) -> HeldOutLoss:
        """Loss after ``sweeps`` of ``most`` sweeps, which continue those made before."""
        self._context.before(f"{self._words(depths, slices)}, longer trial")
        trial, state = self._settling.get((depths, slices)) or (self._trial(depths, slices), None)
        state, loss = trial.sweep_to(state, trial.enough_sweeps(sweeps), trial.enough_sweeps(most), self._context)
        self._settling[depths, slices] = trial, state
        return loss

    def _words(self, depths: float, slices: int) -> str:
        return f"{self._under}a depth of {significant(depths * self._depth_A, 3)} Å in {slices} slices"

    def _trial(self, depths: float, slices: int) -> Trial:
        changed, settings = thickened(self._part, self._preset, depths * self._depth_A, slices)
        settings = freeing_optics(changed, settings, FREED_OPTICS) if self._freed else settings
        return Trial.of(changed, settings, self._context)


def half_turn_trials(
    tuned: Tuned, context: TrialContext, depth_A: float, patterns: int, modes: int | Auto, *, freed: bool = False
) -> list[DepthTrials]:
    """Trials on the middle of a scan as it is, and also under the other half turn if that is open."""
    part, preset = context.cache.central_part(tuned.dataset, patterns), tuned.preset
    preset = preset.model_copy(update={"probe_modes": modes})
    trials = [DepthTrials(part, preset, context, depth_A, freed=freed)]
    if half_turn_is_open(part, preset):
        warm_start = None if context.warm_start is None else context.warm_start.half_turned()
        turned = replace(context, start=start_half_turned(context.start), warm_start=warm_start)
        under = "the other half turn, "
        trials.append(DepthTrials(half_turned(part), preset, turned, depth_A, under, freed=freed))
    return trials


class AnyDepth:
    """Trials through different thicknesses in six slices and one mode, from an empty object, on the same patterns."""

    def __init__(self, part: Dataset, preset: Preset, context: TrialContext, depth_A: float) -> None:
        self._preset = preset.model_copy(update={"probe_modes": 1, "num_slices": "auto"})
        self._part, self._context, self._depth_A = part, replace(context, start=None), depth_A
        self._trials = DepthTrials(part, self._preset, self._context, depth_A)

    def adjacent(self) -> HeldOutLoss:
        """Loss of adjacent slices."""
        return self._trials.loss(NOTHING, COARSE_SLICES)

    def lowest(self) -> HeldOutLoss:
        """Lowest loss of adjacent slices, and of those that reach through a depth under either half turn."""
        depths = [number for number in ANY_DEPTH if number * self._depth_A <= THICKEST_A]
        trials = [self._trials]
        if depths and half_turn_is_open(self._part, self._preset):
            under = "the other half turn, "
            trials.append(DepthTrials(half_turned(self._part), self._preset, self._context, self._depth_A, under))
        losses = [each.loss(number, COARSE_SLICES) for each in trials for number in depths]
        return min([self.adjacent(), *losses], key=lambda loss: loss.mean)
