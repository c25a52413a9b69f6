"""The size of the source that several probe modes begin with, by patterns that were held out.

Modes keep much of the blur they begin with: of a source that is not there as of one that is. So where nobody gave a
size, half of the usual one is tried beside it, in as many modes as the run has. Fewer tell less: which of source and
focal spread the second mode stands for changes with the size. A source that is too large does less harm where there is
one than one too small, so the usual one is kept unless the smaller one predicts better beyond doubt.
"""

from __future__ import annotations

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import MODE_PATTERNS, TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.schema.preset import Preset

SMALLER = 0.5
"""Times the usual source."""
SWEEPS = (1, 2, 4)
"""After which the two are compared."""
BEHIND = 4.0
"""Standard deviations by which the smaller source, behind after one sweep, stays so."""


def with_chosen_source(tuned: Tuned, context: TrialContext) -> Tuned:
    """The same with its source stated, a smaller one where that predicts better beyond doubt, and why in words."""
    if not _is_open(tuned.dataset, tuned.preset):
        return tuned
    part = context.seen.central_part(tuned.dataset, MODE_PATTERNS)
    settings = tuned.preset.model_copy(update=TRIAL_SETTINGS)
    measured = context.seen.measure(part, settings)
    coherence = decide(measured, settings, has_start=context.start is not None).coherence
    if coherence.modes == 1:
        return tuned
    sizes_A = (coherence.source_A, SMALLER * coherence.source_A)
    tried = [settings.model_copy(update={"source_size_A": size}) for size in sizes_A]
    usual, smaller = (Trial.of(part, one, context, measured) for one in tried)
    gain = _gain(usual, smaller, context)
    if gain.certain:
        words = f"source {sizes_A[1]:.2g} Å: it predicts patterns held out better than {sizes_A[0]:.2g} Å, by {gain}"
        return tuned.with_settings(words, source_size_A=sizes_A[1])
    words = f"source {sizes_A[0]:.2g} Å: {sizes_A[1]:.2g} Å would not predict patterns held out better (gain {gain})"
    return tuned.with_settings(words, source_size_A=sizes_A[0])


def _is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether nobody gave the size, or modes that do not begin with it, and there are patterns enough to try it."""
    probe = preset.probe
    begun = probe.start_probe or probe.n_hermite_probe_modes or probe.defocus_spread_modes_A
    return probe.source_size_A == "auto" and not begun and may_be_tried(dataset, preset)


def _gain(usual: Trial, smaller: Trial, context: TrialContext) -> Gain:
    """Of the smaller source, after the first sweeps where they tell."""
    states: list[SweepState | None] = [None, None]
    gain = Gain(0.0, 0.0)
    for sweeps in SWEEPS:
        losses: list[HeldOutLoss] = []
        for k, (trial, words) in enumerate(((usual, "the usual source"), (smaller, "a smaller source"))):
            context.before(words)
            states[k], loss = trial.continued(states[k], sweeps, SWEEPS[-1], context)
            losses.append(loss)
        gain = Gain.over(losses[0].groups, losses[1].groups)
        if gain.opposite.exceeds(BEHIND) or not (gain.certain or sweeps == 1):
            break
    return gain
