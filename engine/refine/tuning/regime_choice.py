"""Regime of thin specimens at low dose: whether to refine from the whole pattern or from the bright field alone.

The number of electrons per area does not decide this: at 30 kV, or for heavy atoms, the dark field holds much of the
information in 2000 of them, and for ice it holds the tail of the detector. Each regime therefore refines most of the
patterns in the middle of the scan, and the others judge it, by one measure: the likelihood of all their pixels with a
flat background. Electrons scattered without a trace of the specimen fill the dark field too, and a probe without bounds
describes them: a regime that predicts the bright field worse is rejected, and one that predicts only it better is
chosen.

The whole pattern is tried from an empty object and from the live map. The map is wrong for strong specimens, and has
low frequencies that converge slowly from the patterns, which hardly show them. It is therefore kept unless patterns are
predicted better without it beyond doubt. Half of the sweeps are enough if they leave nothing to choose.

If the noise of neighbouring pixels is correlated, nothing is tried: a likelihood of independent counts cannot judge.
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
from ptylive.engine.refine.tuning.mode_choice import TRIAL_PATTERNS, TRIAL_SETTINGS, may_be_tried, modes_or_one
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

WORTH = 0.0025
"""Share by which patterns must be predicted better: larger steps and more modes cost more than a smaller gain."""
BEYOND_DOUBT = 4.0
"""Standard deviations of a lead, or deficit, after half of the sweeps at which the trials end."""
FAINT_HELD_OUT, FAINT_BATCHES = 6, 16
"""One pattern in six is held out, and a sweep has at least 16 batches, in place of one in eight and 32 in other trials:
steps from few patterns of few electrons scatter, most of all those of *thin*, which are larger."""
FAINT_FULL_SWEEPS = 4
"""Number of sweeps at full step, in place of eight: shorter steps leave less of their own scatter."""


@dataclass(frozen=True)
class Candidate:
    """A regime and a start to refine with."""

    regime: Regime
    from_map: bool

    @property
    def settings(self) -> dict[str, object]:
        """Settings of a preset."""
        return {"regime": str(self.regime), "start_from_map": self.from_map}

    def __str__(self) -> str:
        """Describe the candidate in words."""
        region = "the bright field" if self.regime is Regime.WEAK else "the whole pattern"
        return f"{region} from {'the live map' if self.from_map else 'an empty object'}"


FROM_NOTHING = Candidate(Regime.THIN, from_map=False)
"""Candidate by which a drift is judged too (:mod:`drift_check`)."""


@dataclass(frozen=True)
class RegimeChoice:
    """Losses on groups of held-out patterns, the same groups for all candidates."""

    safe: Candidate
    """Candidate that the dose alone suggests, chosen unless the other regime is better beyond doubt."""
    losses: Mapping[Candidate, Likelihoods]

    @property
    def best(self) -> Candidate:
        """The candidate to use."""
        return self._ahead if self._is_better else self.safe

    @property
    def reason(self) -> str:
        """The choice in words."""
        everywhere, bright = self._gains
        gains = f"{everywhere}, in the bright field {bright}"
        if self._is_better:
            return f"{self._ahead}: predicts held-out patterns better than {self.safe}, by {gains}"
        return f"{self.safe}: {self._ahead} would not predict held-out patterns better (gain {gains})"

    @property
    def settled(self) -> bool:
        """Whether more sweeps would leave both the regime and the start as they are, beyond doubt."""
        empty, *from_map = self._rivals
        distinct = all(self.gain(start, empty).exceeds(BEYOND_DOUBT) for start in from_map)
        return self._is_better and distinct and any(gain.exceeds(BEYOND_DOUBT) for gain in self._gains)

    def gain(self, candidate: Candidate, over: Candidate) -> Gain:
        """Gain of one candidate over another, over all pixels."""
        return Gain.over(self.losses[over].everywhere, self.losses[candidate].everywhere)

    @property
    def _is_better(self) -> bool:
        """Whether the other regime is better beyond doubt in all pixels or in the bright field, and worse in neither.

        It must not be worse from an empty object either: patterns with little information leave to the map what they do
        not determine.
        """
        worse = [gain.opposite.certain for rival in (self._ahead, self._rivals[0]) for gain in self._gains_of(rival)]
        return any(gain.certain and gain.share > WORTH for gain in self._gains) and not any(worse)

    @property
    def _ahead(self) -> Candidate:
        """The other regime, from the map unless an empty object predicts better beyond doubt, by a sufficient share."""
        empty, *from_map = self._rivals
        if not from_map:
            return empty
        gain = self.gain(empty, from_map[0])
        return empty if gain.certain and gain.share > WORTH else from_map[0]

    @property
    def _rivals(self) -> list[Candidate]:
        """Candidates of the other regime, an empty object first."""
        return sorted(
            (rival for rival in self.losses if rival.regime is not self.safe.regime), key=lambda rival: rival.from_map
        )

    @property
    def _gains(self) -> tuple[Gain, Gain]:
        return self._gains_of(self._ahead)

    def _gains_of(self, candidate: Candidate) -> tuple[Gain, Gain]:
        """Gains over the safe candidate, in all pixels and in the bright field."""
        safe, rival = self.losses[self.safe], self.losses[candidate]
        return Gain.over(safe.everywhere, rival.everywhere), Gain.over(safe.bright, rival.bright)


def choose_regime(dataset: Dataset, preset: Preset, context: TrialContext) -> RegimeChoice | None:
    """Choose an open regime where the dose alone suggests ``weak``; None: leave the preset as it is."""
    if not _is_open(preset) or not may_be_tried(dataset, preset):
        return None
    part = context.cache.central_part(dataset, TRIAL_PATTERNS)
    quick = preset.model_copy(update=TRIAL_SETTINGS | {"probe_modes": modes_or_one(preset)})  # open: decided afterwards
    measured = context.cache.measure(part, quick)
    first = decide(measured, quick, has_start=context.start is not None)
    if first.regime is not Regime.WEAK or measured.statistics.noise_spread > NOISE_SPREAD:
        return None
    safe = Candidate(Regime.WEAK, first.start_from_map)
    starts = [FROM_NOTHING] if preset.start.start_from_map in ("auto", False) else []
    if context.start is not None and preset.start.start_from_map in ("auto", True):
        starts.append(Candidate(Regime.THIN, True))
    race = _Race(part, quick, measured, context)
    losses = {safe: race.after(safe, 1.0)} | {candidate: race.after(candidate, 0.5) for candidate in starts}
    choice = RegimeChoice(safe, losses)
    if not choice.settled:
        choice = RegimeChoice(safe, losses | {candidate: race.after(candidate, 1.0) for candidate in starts})
    return choice


def with_chosen_regime(tuned: Tuned, context: TrialContext) -> Tuned:
    """Set the regime and say how it was decided, if anything was tried."""
    choice = choose_regime(tuned.dataset, tuned.preset, context)
    if choice is None:
        return tuned
    return tuned.with_settings(choice.reason, **choice.best.settings)


def _is_open(preset: Preset) -> bool:
    """Whether nobody stated a setting that decides between the regimes."""
    stated = (preset.solver.regime, preset.loss.algorithm, preset.loss.bright_field_only)
    return (
        preset.object.slices == 1
        and preset.solver.optimizer not in PUBLISHED
        and all(each == "auto" for each in stated)
    )


class _Race:
    """Trials of candidates on the same patterns; each continues from its previous state."""

    def __init__(self, part: Dataset, quick: Preset, measured: Measurement, context: TrialContext) -> None:
        self._part, self._quick, self._measured, self._context = part, quick, measured, context
        self._trials: dict[Candidate, tuple[Trial, SweepState | None]] = {}

    def after(self, candidate: Candidate, share: float) -> Likelihoods:
        """Likelihoods of a candidate after a share of its sweeps."""
        self._context.before(str(candidate))
        if candidate not in self._trials:
            settings = self._quick.model_copy(update=candidate.settings)
            trial = Trial.of(self._part, settings, self._context, self._measured, FAINT_HELD_OUT)
            self._trials[candidate] = replace(trial, batches=FAINT_BATCHES, full_sweeps=FAINT_FULL_SWEEPS), None
        trial, state = self._trials[candidate]
        sweeps = math.ceil(share * trial.all_sweeps)
        state, likelihoods = trial.likelihoods_after(state, sweeps, self._context)
        self._trials[candidate] = trial, state
        if candidate == FROM_NOTHING:
            self._context.kept_trials[str(candidate)] = KeptTrial(self._part.patterns, trial, state)
        return likelihoods
