"""What thin specimens are refined by at low dose: all of the pattern, or the bright field alone.

How many electrons there are to an area does not tell: at 30 kV, or of heavy atoms, the dark field holds much of what
2000 of them have to say, and of ice it holds the tail of the detector. So each regime refines most of the patterns of
the middle of the scan, and the others judge it, by one measure: the likelihood of all their pixels with a flat
background. What is scattered without a trace of the specimen fills the dark field too, and a probe without bounds
describes it: who predicts the bright field worse is not taken, and who predicts it alone better is.

All of the pattern is tried from an empty object and from the live map. The map is wrong where the specimen is strong,
and has low frequencies that come slowly from the patterns, which hardly show them: so it is kept unless patterns are
predicted better without it beyond doubt. Half of the sweeps are enough where they leave nothing to choose.

Where the noise of neighbouring pixels is correlated nothing is tried: a likelihood of independent counts is no judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.few_electrons import NOISE_SPREAD
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.problem.strategy import Regime
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import KeptTrial, Likelihoods, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_PATTERNS, TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.preset import Preset

WORTH = 0.0025
"""Share by which patterns must be predicted better: larger steps and more modes cost more than less brings."""
BEYOND_DOUBT = 4.0
"""Standard deviations by which something must be ahead, or behind, after half of the sweeps to be left at that."""
HELD_OUT, BATCHES = 6, 16
"""One pattern in six is held out, and a sweep has 16 batches at least: steps of few patterns of few electrons
scatter, those of *thin* most, which are the larger."""
FULL_SWEEPS = 4
"""Sweeps at full steps: shorter ones leave less of their own scatter."""


@dataclass(frozen=True)
class Candidate:
    """A way to refine."""

    regime: Regime
    from_map: bool

    @property
    def settings(self) -> dict[str, object]:
        """Of a preset."""
        return {"regime": str(self.regime), "start_from_map": self.from_map}

    def __str__(self) -> str:
        """In words."""
        seen = "the bright field" if self.regime is Regime.WEAK else "all of the pattern"
        return f"{seen} from {'the live map' if self.from_map else 'an empty object'}"


FROM_NOTHING = Candidate(Regime.THIN, from_map=False)
"""What a drift is judged by too (:mod:`drift_check`)."""


@dataclass(frozen=True)
class RegimeChoice:
    """Losses of groups of patterns held out, the same for all candidates as far as they go."""

    safe: Candidate
    """What the dose alone says, taken unless the other regime is better beyond doubt."""
    losses: Mapping[Candidate, Likelihoods]

    @property
    def best(self) -> Candidate:
        """The one to use."""
        return self._ahead if self._taken else self.safe

    @property
    def reason(self) -> str:
        """The choice in words."""
        everywhere, bright = self._gains
        gains = f"{everywhere}, in the bright field {bright}"
        if self._taken:
            return f"{self._ahead}: it predicts patterns held out better than {self.safe}, by {gains}"
        return f"{self.safe}: {self._ahead} would not predict patterns held out better (gain {gains})"

    @property
    def settled(self) -> bool:
        """Whether more sweeps would leave both the regime and the start as they are, beyond doubt."""
        empty, *from_map = self._others
        told_apart = all(self.gain(one, empty).exceeds(BEYOND_DOUBT) for one in from_map)
        return self._taken and told_apart and any(gain.exceeds(BEYOND_DOUBT) for gain in self._gains)

    def gain(self, one: Candidate, over: Candidate) -> Gain:
        """Of one candidate over another, in all pixels."""
        return Gain.over(self.losses[over].everywhere, self.losses[one].everywhere)

    @property
    def _taken(self) -> bool:
        """Better beyond doubt in all pixels or in those of the bright field, and worse in neither.

        Nor from an empty object: patterns that say little leave to the map what they do not know.
        """
        worse = [gain.opposite.certain for one in (self._ahead, self._others[0]) for gain in self._gains_of(one)]
        return any(gain.certain and gain.share > WORTH for gain in self._gains) and not any(worse)

    @property
    def _ahead(self) -> Candidate:
        """The other regime, from the map unless an empty object predicts better beyond doubt, and worth it."""
        empty, *from_map = self._others
        if not from_map:
            return empty
        gain = self.gain(empty, from_map[0])
        return empty if gain.certain and gain.share > WORTH else from_map[0]

    @property
    def _others(self) -> list[Candidate]:
        """Of the other regime, an empty object first."""
        return sorted((one for one in self.losses if one.regime is not self.safe.regime), key=lambda one: one.from_map)

    @property
    def _gains(self) -> tuple[Gain, Gain]:
        return self._gains_of(self._ahead)

    def _gains_of(self, one: Candidate) -> tuple[Gain, Gain]:
        """Of everything and of the bright field, over the safe one."""
        safe, other = self.losses[self.safe], self.losses[one]
        return Gain.over(safe.everywhere, other.everywhere), Gain.over(safe.bright, other.bright)


def choose_regime(dataset: Dataset, preset: Preset, context: TrialContext) -> RegimeChoice | None:
    """The regime of a preset that leaves it open, where the dose alone says ``weak``; None: as it is."""
    if not _is_open(preset) or not may_be_tried(dataset, preset):
        return None
    part = context.seen.central_part(dataset, TRIAL_PATTERNS)
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    if quick.probe.probe_modes == "auto":  # of which a trial of its own decides
        quick = quick.model_copy(update={"probe_modes": 1})
    measured = context.seen.measure(part, quick)
    first = decide(measured, quick, has_start=context.start is not None)
    if first.regime is not Regime.WEAK or measured.statistics.noise_spread > NOISE_SPREAD:
        return None
    safe = Candidate(Regime.WEAK, first.start_from_map)
    starts = [FROM_NOTHING] if preset.start.start_from_map in ("auto", False) else []
    if context.start is not None and preset.start.start_from_map in ("auto", True):
        starts.append(Candidate(Regime.THIN, True))
    race = _Race(part, quick, measured, context)
    losses = {safe: race.after(safe, 1.0)} | {one: race.after(one, 0.5) for one in starts}
    choice = RegimeChoice(safe, losses)
    if not choice.settled:
        choice = RegimeChoice(safe, losses | {one: race.after(one, 1.0) for one in starts})
    return choice


def with_chosen_regime(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same with its regime decided, and how in words, where anything was tried."""
    choice = choose_regime(tuned.dataset, tuned.preset, context)
    if choice is None:
        return tuned
    return tuned.with_settings(choice.reason, **choice.best.settings)


def _is_open(preset: Preset) -> bool:
    """Whether nobody said what tells the regimes apart."""
    stated = (preset.solver.regime, preset.loss.algorithm, preset.loss.bright_field_only)
    return (
        preset.object.slices == 1 and preset.solver.optimizer not in PUBLISHED and all(one == "auto" for one in stated)
    )


class _Race:
    """Trials of candidates on the same patterns, each of which goes on where it was."""

    def __init__(self, part: Dataset, quick: Preset, measured: Measurement, context: TrialContext) -> None:
        self._part, self._quick, self._measured, self._context = part, quick, measured, context
        self._trials: dict[Candidate, tuple[Trial, SweepState | None]] = {}

    def after(self, one: Candidate, share: float) -> Likelihoods:
        """What a candidate predicts after a share of its sweeps."""
        self._context.before(str(one))
        if one not in self._trials:
            settings = self._quick.model_copy(update=one.settings)
            trial = Trial.of(self._part, settings, self._context, self._measured, HELD_OUT)
            self._trials[one] = replace(trial, batches=BATCHES, full_sweeps=FULL_SWEEPS), None
        trial, state = self._trials[one]
        sweeps = math.ceil(share * trial.all_sweeps)
        state, likelihoods = trial.continued_likelihoods(state, sweeps, self._context)
        self._trials[one] = trial, state
        if one == FROM_NOTHING:
            self._context.kept[str(one)] = KeptTrial(self._part.patterns, trial, state)
        return likelihoods
