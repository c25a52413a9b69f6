"""What one slice leaves of held-out patterns, compared with counting noise.

Depth shows in differences of a few per cent between short trials, and in a thick crystal it may not show. What one
slice leaves unexplained shows at once: up to 1.3 times the loss of counting noise in thin specimens, and mostly 1.5 to
19 times in crystals (docs/measured/automatic/depth.md). If that is much, several slices are tried even if no depth was
seen; if it is next to nothing, depth that two slices do not show is not looked for.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

from ptylive.engine.refine.problem.few_electrons import NOISE_SPREAD
from ptylive.engine.refine.problem.prepare import by_likelihood
from ptylive.engine.refine.tuning.depth.as_refined import EPOCHS, as_refined
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.start.goodness_of_fit import counting_noise, counts_per_electron
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant

TOO_MUCH = 1.35
"""Ratio of the held-out loss to that of counting noise from which one slice is too little."""
NEXT_TO_NOTHING = 1.05
"""Ratio up to which depth that two slices do not show is not looked for: ten sheets, shells and particles that left at
most 1.04 times the noise of their mean pattern had none; eleven thick crystals left 1.09 and more
(docs/measured/automatic/depth.md)."""


@dataclass(frozen=True)
class Unexplained:
    """What a trial leaves of patterns that were held out of it."""

    likelihoods: tuple[float, ...]
    """Negative log-likelihood of each group."""
    times: float
    """Ratio of their mean to the loss that counting noise alone would leave."""

    @property
    def is_much(self) -> bool:
        """Whether it is far more than counting noise."""
        return self.times > TOO_MUCH

    def __str__(self) -> str:
        """Describe it in words."""
        if self.times < NEXT_TO_NOTHING:
            return "one slice leaves next to nothing but counting noise"
        return f"one slice leaves {significant(self.times, 2)} times the counting noise"


def unexplained(trial: Trial, context: TrialContext) -> Unexplained | None:
    """Run a trial of one slice, and return what it leaves; None where that cannot be compared with counting noise.

    Where neighbouring pixels share their noise, its loss is not known.
    """
    problem, gain = trial.problem, counts_per_electron(trial.problem)
    if problem.statistics.noise_spread > NOISE_SPREAD or gain is None:
        return None
    noise = counting_noise(by_likelihood(problem, bright_field_only=False), gain)
    if not noise:
        return None
    context.before("what one slice leaves unexplained")
    with closing(trial.lbfgs_likelihoods((EPOCHS,), context)) as losses:
        groups = next(losses)
    return Unexplained(groups, sum(groups) / len(groups) / noise)


class OneSlice:
    """What one slice leaves, each as refined in the run; the trial is run once, when it is first asked for."""

    def __init__(self, thin: Tuned, context: TrialContext) -> None:
        self._thin, self._context = thin, context

    @cached_property
    def trial(self) -> Trial:
        """The trial of one slice."""
        return as_refined(self._thin, self._context)

    @cached_property
    def left(self) -> Unexplained | None:
        """What the trial leaves unexplained; None if that cannot be told."""
        return unexplained(self.trial, self._context)

    @property
    def is_too_little(self) -> bool:
        """Whether it leaves far more than counting noise."""
        return self.left is not None and self.left.is_much

    @property
    def explains_all(self) -> bool:
        """Whether it leaves next to nothing but counting noise."""
        return self.left is not None and self.left.times < NEXT_TO_NOTHING


def too_little(thin: Tuned, context: TrialContext) -> str | None:
    """Return in words how much one slice leaves unexplained, or None if that is little or cannot be told."""
    single = OneSlice(thin, context)
    return str(single.left) if single.is_too_little else None
