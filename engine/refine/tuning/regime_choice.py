"""What thin specimens are refined by at low dose: all of the pattern, or the bright field alone.

How many electrons there are to an area does not tell: at 30 kV, or of heavy atoms, the dark field holds much of what
2000 of them have to say, and of ice it holds the tail of the detector. So each regime refines most of the patterns of
the middle of the scan, and the others judge it, by one measure: the likelihood of all their pixels with a flat
background. What is scattered without a trace of the specimen fills the dark field too, and a probe without bounds
describes it: who predicts the bright field worse is not taken, and who predicts it alone better is.

All of the pattern is tried from an empty object and from the live map. The map has low frequencies that come slowly
from the patterns, and is wrong where the specimen is strong.

Where the noise of neighbouring pixels is correlated nothing is tried: a likelihood of independent counts is no judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import decide, measure
from ptylive.engine.refine.problem.strategy import NOISE_SPREAD, Regime
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import Likelihoods, Trial, TrialContext, central_part
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_PATTERNS, TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.preset import Preset

MOST_TRIALS = 8
"""Of two starts that predict nearly as well, each with other patterns held out: then all of them were, once."""
BATCHES = 16
"""In a sweep, at least: steps of few patterns of few electrons scatter, those of *thin* most, which are the larger."""


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
    def _taken(self) -> bool:
        """Better beyond doubt in all pixels or in those of the bright field, and worse in neither."""
        gains = self._gains
        return any(gain.certain for gain in gains) and not any(gain.opposite.certain for gain in gains)

    @property
    def _ahead(self) -> Candidate:
        """The better start of the other regime, whether or not beyond doubt: neither of them is the safe one."""
        others = [one for one in self.losses if one.regime is not self.safe.regime]
        return min(others, key=lambda one: float(np.mean(self.losses[one].everywhere)))

    @property
    def _gains(self) -> tuple[Gain, Gain]:
        """Of everything and of the bright field, on the groups that both were judged by."""
        safe, ahead = self.losses[self.safe], self.losses[self._ahead]
        both = min(len(safe.bright), len(ahead.bright))
        everywhere = Gain.over(safe.everywhere[:both], ahead.everywhere[:both])
        return everywhere, Gain.over(safe.bright[:both], ahead.bright[:both])


def choose_regime(dataset: Dataset, preset: Preset, context: TrialContext) -> RegimeChoice | None:
    """The regime of a preset that leaves it open, where the dose alone says ``weak``; None: as it is."""
    if not _is_open(preset) or dataset.masks is not None or len(dataset.patterns) < LEAST_PATTERNS:
        return None
    part = central_part(dataset, TRIAL_PATTERNS)
    quick = preset.model_copy(update=TRIAL_SETTINGS)
    if quick.probe.probe_modes == "auto":  # of which a trial of its own decides
        quick = quick.model_copy(update={"probe_modes": 1})
    measured = measure(part, quick)
    first = decide(measured, quick, has_start=context.start is not None)
    if first.regime is not Regime.WEAK or measured.statistics.noise_spread > NOISE_SPREAD:
        return None
    safe = Candidate(Regime.WEAK, first.start_from_map)
    starts = [Candidate(Regime.THIN, False)] if preset.start.start_from_map in ("auto", False) else []
    if context.start is not None and preset.start.start_from_map in ("auto", True):
        starts.append(Candidate(Regime.THIN, True))
    losses = {one: _losses(one, 0, part, quick, measured, context) for one in (safe, *starts)}
    choice = RegimeChoice(safe, losses)
    for split in range(1, MOST_TRIALS):
        if choice.best == safe or len(starts) < 2 or _told_apart(*(losses[one] for one in starts)):
            break
        for one in starts:
            losses[one] += _losses(one, split, part, quick, measured, context)
    return choice


def with_chosen_regime(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same with its regime decided, and how in words, where anything was tried."""
    choice = choose_regime(tuned.dataset, tuned.preset, context)
    if choice is None:
        return tuned
    preset = tuned.preset.model_copy(update=choice.best.settings)
    return replace(tuned, preset=preset, words=(*tuned.words, choice.reason))


def _is_open(preset: Preset) -> bool:
    """Whether nobody said what tells the regimes apart."""
    stated = (preset.solver.regime, preset.loss.algorithm, preset.loss.bright_field_only)
    plain = preset.refined.update_obj and not preset.propagation.near_field and preset.object.slices == 1
    return plain and preset.solver.optimizer not in PUBLISHED and all(one == "auto" for one in stated)


def _losses(
    one: Candidate, split: int, part: Dataset, quick: Preset, measured: Measurement, context: TrialContext
) -> Likelihoods:
    context.before(str(one))
    trial = Trial.of(part, quick.model_copy(update=one.settings), context, measured, split)
    return replace(trial, batches=BATCHES).likelihoods(context)


def _told_apart(one: Likelihoods, other: Likelihoods) -> bool:
    gain = Gain.over(one.everywhere, other.everywhere)
    return gain.certain or gain.opposite.certain
