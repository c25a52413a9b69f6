"""A drift that the lattice of the scan shows, judged by held-out patterns.

The lattice is found from the overlaps of pairs of discs (:mod:`drift`), with an uncertainty that relies on a model of
single scattering and one defocus. Where that model is wrong, drift appears that is not there, well beyond its
uncertainty; and of a real drift, the overlaps of a weak scan show little. A short refinement uses all of the pattern:
an object can follow stretched or sheared positions, but the probe and the detector have their own scale and angles,
which then no longer fit. It starts from an empty object, since a live map was made on positions with the drift and
favours them, or from a given object of several slices. For a film of several slices, optics that nobody stated are
refined as well: otherwise a drift that is not there would be preferred because it compensates a slightly wrong
astigmatism.

The drift is compared with its opposite. If nothing drifts, both are equally wrong; if the drift is real and the loss
parabolic, it leads the opposite by four times its lead over no drift. A trial that is too short, for a strong object
that needs many sweeps, sees only part of a drift and may prefer none to it, but never the opposite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ptylive.engine.refine.data.drift import HINT, Drift, without_drift
from ptylive.engine.refine.data.selection import central
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import decide, lay_out
from ptylive.engine.refine.problem.strategy import Regime
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.half_turn import has_oriented_start
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.optics.freed_optics import freeing_optics, may_be_freed
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.engine.refine.tuning.regime_choice import FAINT_BATCHES, FAINT_FULL_SWEEPS, FAINT_HELD_OUT, FROM_NOTHING
from ptylive.engine.refine.tuning.start.start_object import given_object
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin
from ptylive.schema.advice.words import significant
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

BEYOND_DOUBT = 6.0
"""Standard deviations by which held-out patterns must prefer a drift to its opposite, however certain the lattice and
however many the slices. They count the scatter of the patterns only: trials that hold out others differ by up to five
of them, and trials of models that are slightly wrong, or have not settled, prefer one of two drifts that are not there
by as much (docs/measured/automatic/drift.md). A drift that they leave alone is tested again on the refined object."""
WITH_THE_TURN = 3.0
"""Standard deviations by which a drift that is preferred to its opposite, but not to none, has to be better together
with the rotation that the lattice shows: than the positions as they are, and than the rotation alone."""
LEAST_SEEN = 1 / 3
"""Least share of a drift at which the parabola through it, none and its opposite has its minimum. Trials see half of a
real drift; if it is two thirds of what the lattice says, removing it leaves less than keeping it."""
NOTHING = 1.0
"""Standard deviations over its opposite, in a short trial, below which a longer trial would find nothing either."""
SETTINGS = {
    **TRIAL_SETTINGS,
    "regime": str(Regime.THIN),
    "start_from_map": False,
    "sweeps": "auto",
    "epoch_max": "auto",
    "probe_modes": 1,
}
"""Settings of trials, overriding the preset. One mode: the blur of a source is the same with and without the drift."""


@dataclass(frozen=True)
class Length:
    """Length of a trial of one slice."""

    sweeps: int
    full: int
    """Sweeps at full step; shorter steps leave less of their own scatter, which is larger than the effect of a drift.
    Otherwise the one of two trials that had halved its steps would win."""
    batches: int
    """Minimum number of batches in a sweep."""


SHORT, LONG = Length(8, FAINT_FULL_SWEEPS, FAINT_BATCHES), Length(12, 8, 32)
"""The short length is also used to choose the regime. Its error is due to incomplete convergence: of small drifts in
few patterns it sees half."""


def with_checked_drift(
    measured: Measurement, tuned: Tuned, context: TrialContext, *, may_turn: bool = True
) -> tuple[Tuned, Measurement]:
    """Measure ``tuned`` with its drift removed if lattice and trials agree on it, and only then.

    A drift is tried only if the preset leaves it open and the scan has enough patterns. Along with a drift, the
    rotation that the lattice shows is applied if the rotation was not stated and held-out patterns are predicted better
    by it (``may_turn``): the calibration is then changed.
    """
    drift, preset = measured.drift, tuned.preset
    if drift is None or not drift_is_open(drift, preset) or len(tuned.dataset.patterns) < LEAST_PATTERNS:
        return tuned, measured
    context = from_given_object(measured, preset, context)
    evidence, trials = _evidence(tuned, replace(drift, applied=True), context)
    removed, found = evidence.is_confirmed, drift.reason.rsplit(": ", 1)[0]
    may_turn = may_turn and _is_turned(drift, preset) and evidence.over_opposite.exceeds(BEYOND_DOUBT)
    with_turn = trials.over_either(replace(drift, applied=True)) if may_turn and not removed else None
    words = str(evidence)
    if with_turn is not None and with_turn.exceeds(WITH_THE_TURN):
        removed, words = True, f"held-out patterns are predicted better with the scan also rotated, by {with_turn}"
    decided = replace(drift, applied=removed, reason=f"{found}: {'corrected' if removed else 'not corrected'}, {words}")
    turned = _turned(tuned, decided, trials) if removed and may_turn else tuned
    if turned is tuned and removed == drift.applied:
        return tuned, replace(measured, drift=decided)
    dataset = without_drift(turned.dataset, decided)
    remeasured = context.cache.measure(dataset, preset.model_copy(update={"refine_drift": False}))
    return turned, replace(remeasured, drift=decided)


def from_given_object(measured: Measurement, preset: Preset, context: TrialContext) -> TrialContext:
    """Context of trials that start from a given object of several slices; unchanged if none is given.

    In the wrong minimum that an empty object may lead to, trials see a drift that is not there.
    """
    path = preset.start.start_object
    if path is None or preset.object.slices == 1 or context.warm_start is not None:
        return context
    problem = lay_out(measured, decide(measured, preset, has_start=False), preset, None)
    start = given_object(path, problem)
    return replace(context, warm_start=replace(start, depth_A=start.depth_A + preset.start.start_depth_A))


def _is_turned(drift: Drift, preset: Preset) -> bool:
    """Whether the lattice shows a rotation, and no stated input is tied to the orientation of the scan."""
    return drift.turn_deg != 0 and not has_oriented_start(preset)


def _turned(tuned: Tuned, drift: Drift, trials: _Trials) -> Tuned:
    """Turn the data set as the lattice is turned, if held-out patterns are then predicted better beyond doubt."""
    gain = trials.over_unturned(drift)
    if not gain.certain:
        return tuned
    dataset = AS_IT_IS.turned(drift.turn_deg).of(tuned.dataset)
    rotation = dataset.calibration.entries["rotation_deg"]
    rotation = replace(rotation, origin=Origin.ESTIMATED, uncertainty=drift.turn_uncertainty_deg)
    dataset = replace(dataset, calibration=dataset.calibration.having(rotation_deg=rotation))
    words = f"rotation {rotation.value:.1f} ± {significant(drift.turn_uncertainty_deg, 1)}°, changed by "
    words += f"{drift.turn_deg:+.2g}° along with the drift: held-out patterns are predicted better, by {gain}"
    orientation = (tuned.orientation or AS_IT_IS).turned(drift.turn_deg)
    return replace(tuned, dataset=dataset, orientation=orientation, words=(*tuned.words, words))


def drift_is_open(drift: Drift, preset: Preset) -> bool:
    """Whether the preset leaves drift open, and the lattice hints at it."""
    undecided = preset.start.refine_drift == "auto" and preset.refined.update_obj
    return undecided and drift.deviations > HINT


@dataclass(frozen=True)
class HeldOutEvidence:
    """Evidence of held-out patterns for a drift."""

    over_opposite: Gain
    over_none: Gain | None
    """Gain over no drift; None: not tested, since the opposite is not worse beyond doubt."""

    @property
    def is_confirmed(self) -> bool:
        """Whether it is preferred to its opposite beyond doubt, and not seen to be far smaller."""
        return self.over_opposite.exceeds(BEYOND_DOUBT) and self.share >= LEAST_SEEN

    @property
    def share(self) -> float:
        """Share of the drift at which a parabola through the losses of drift, none and opposite has its minimum.

        With a (t - s)^2 at t of 1, 0 and -1 the gain over the opposite is 4 a s and that over none a (2 s - 1).
        """
        both, none = self.over_opposite.share, 0.0 if self.over_none is None else self.over_none.share
        bend = both - 2 * none  # 2 a
        return both / (2 * bend) if bend > 0 else math.copysign(math.inf, none)

    def __str__(self) -> str:
        """Describe the evidence in words."""
        if self.over_none is None or not self.over_opposite.exceeds(BEYOND_DOUBT):
            return f"held-out patterns do not prefer it to the opposite drift beyond doubt (gain {self.over_opposite})"
        if self.is_confirmed:
            return f"held-out patterns are predicted better than with the opposite drift, by {self.over_opposite}"
        return f"held-out patterns are not predicted better with the correction (gain {self.over_none})"


def _evidence(tuned: Tuned, drift: Drift, context: TrialContext) -> tuple[HeldOutEvidence, _Trials]:
    """Evidence for positions without the drift, with its trials; longer trials if short ones do not decide."""
    trials = _Trials(SHORT, tuned, context)
    over = trials.over_opposite(drift)
    if tuned.preset.object.slices == 1 and over.exceeds(NOTHING) and not over.exceeds(BEYOND_DOUBT):
        trials = _Trials(LONG, tuned, context)
        over = trials.over_opposite(drift)
    none = trials.over_none(drift) if over.exceeds(BEYOND_DOUBT) else None
    return HeldOutEvidence(over, none), trials


class _Trials:
    """Trials on the middle of a scan, of some length; several slices have their own length."""

    def __init__(self, length: Length, tuned: Tuned, context: TrialContext) -> None:
        self._length, self._tuned, self._context = length, tuned, replace(context, start=None)
        self._thin = tuned.preset.object.slices == 1
        changed = SETTINGS | ({"sweeps": length.sweeps} if self._thin else {})
        self._quick = tuned.preset.model_copy(update=changed)
        if not self._thin and tuned.atoms_at_random and may_be_freed(tuned.dataset, tuned.preset):
            self._quick = freeing_optics(tuned.dataset, self._quick)
        self._chosen = central(tuned.dataset, TRIAL_PATTERNS)
        self._part = context.cache.central_part(tuned.dataset, TRIAL_PATTERNS)
        self._measured = context.cache.measure(self._part, self._quick.model_copy(update={"refine_drift": False}))
        self._corrected: tuple[float, ...] | None = None
        self._uncorrected: tuple[float, ...] | None = None
        self._turned: tuple[float, ...] | None = None

    def over_opposite(self, drift: Drift) -> Gain:
        """Gain in predicting held-out patterns without the drift over predicting them without its opposite."""
        slow_A, fast_A = drift.drift_A
        self._context.before("positions corrected for the opposite drift")
        opposite = self._losses(self._without(replace(drift, drift_A=(-slow_A, -fast_A))))
        return Gain.over(opposite, self._corrected_losses(drift))

    def over_none(self, drift: Drift) -> Gain:
        """Gain without the drift over the positions as they are."""
        return self._over_uncorrected(self._corrected_losses(drift))

    def over_unturned(self, drift: Drift) -> Gain:
        """Gain with the scan also turned over removing the drift alone."""
        return Gain.over(self._corrected_losses(drift), self._turned_losses(drift))

    def over_either(self, drift: Drift) -> Gain:
        """Gain over the positions as they are or over the scan only turned, whichever is less certain."""
        self._context.before("the scan rotated, without correction of the drift")
        turned = self._losses(AS_IT_IS.turned(drift.turn_deg).of(self._tuned.dataset).positions_A)
        gains = Gain.over(turned, self._turned_losses(drift)), self._over_uncorrected(self._turned_losses(drift))
        return min(gains, key=lambda gain: gain.share - WITH_THE_TURN * gain.deviation)

    def _turned_losses(self, drift: Drift) -> tuple[float, ...]:
        """Losses of the scan turned and without the drift."""
        if self._turned is None:
            self._context.before(f"the scan rotated by {drift.turn_deg:.2g}°")
            turned = AS_IT_IS.turned(drift.turn_deg).of(self._tuned.dataset)
            self._turned = self._losses(without_drift(turned, drift).positions_A)
        return self._turned

    def _over_uncorrected(self, losses: tuple[float, ...]) -> Gain:
        if self._uncorrected is None:
            self._context.before("uncorrected positions")
            self._uncorrected = self._losses(self._tuned.dataset.positions_A)
        return Gain.over(self._uncorrected, losses)

    def _corrected_losses(self, drift: Drift) -> tuple[float, ...]:
        if self._corrected is None:
            self._context.before("positions corrected for the drift")
            self._corrected = self._losses(self._without(drift))
        return self._corrected

    def _without(self, drift: Drift) -> DoubleArray:
        return without_drift(self._tuned.dataset, drift).positions_A

    def _losses(self, positions_A: DoubleArray) -> tuple[float, ...]:
        placed = replace(self._measured.dataset, positions_A=positions_A[self._chosen])
        trial = Trial.of(
            self._part, self._quick, self._context, replace(self._measured, dataset=placed), FAINT_HELD_OUT
        )
        if self._thin:
            trial = replace(trial, batches=self._length.batches, full_sweeps=self._length.full)
        stored = self._context.kept_trials.get(str(FROM_NOTHING))
        state = stored.state if stored is not None and stored.fits(trial, self._part.patterns) else None
        return trial.likelihood(state, self._context)
