"""The source size that several probe modes start with, chosen by held-out patterns.

Modes keep much of the blur they start with, whether the source is there or not. If nobody gave a size, half of the
usual one is therefore tried as well, with as many modes as the run has. Fewer modes show less: whether the second mode
stands for the source or the focal spread changes with the size. For an actual source, too large a size does less harm
than too small a one, so the usual size is kept unless the smaller one predicts better beyond doubt.
"""

from __future__ import annotations

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import MODE_PATTERNS, TRIAL_SETTINGS, may_be_tried, modes_are_given
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

SMALLER = 0.5
"""Factor on the usual source size."""
SWEEPS = (1, 2, 4)
"""Numbers of sweeps after which the two are compared."""
BEHIND = 4.0
"""Standard deviations by which the smaller source trails after one sweep if it stays behind."""


def with_chosen_source(tuned: Tuned, context: TrialContext) -> Tuned:
    """State the source size, a smaller one if that predicts better beyond doubt, and why in words."""
    if not _is_open(tuned.dataset, tuned.preset):
        return tuned
    part = context.cache.central_part(tuned.dataset, MODE_PATTERNS)
    settings = tuned.preset.model_copy(update=TRIAL_SETTINGS)
    measured = context.cache.measure(part, settings)
    coherence = decide(measured, settings, has_start=context.start is not None).coherence
    if coherence.modes == 1:
        return tuned
    sizes_A = (coherence.source_A, SMALLER * coherence.source_A)
    presets = [settings.model_copy(update={"source_size_A": size}) for size in sizes_A]
    usual, smaller = (Trial.of(part, preset, context, measured) for preset in presets)
    gain = _gain(usual, smaller, context)
    if gain.certain:
        words = f"source size {sizes_A[1]:.2g} Å: predicts held-out patterns better than {sizes_A[0]:.2g} Å, by {gain}"
        return tuned.with_settings(words, source_size_A=sizes_A[1])
    words = (
        f"source size {sizes_A[0]:.2g} Å: {sizes_A[1]:.2g} Å would not predict held-out patterns better (gain {gain})"
    )
    return tuned.with_settings(words, source_size_A=sizes_A[0])


def _is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether neither a size nor start modes that override it are given, and there are enough patterns for a trial."""
    probe = preset.probe
    return probe.source_size_A == "auto" and not modes_are_given(probe) and may_be_tried(dataset, preset)


def _gain(usual: Trial, smaller: Trial, context: TrialContext) -> Gain:
    """Gain of the smaller source, after the first sweeps if they decide."""
    states: list[SweepState | None] = [None, None]
    gain = Gain(0.0, 0.0)
    for sweeps in SWEEPS:
        losses: list[HeldOutLoss] = []
        for k, (trial, words) in enumerate(((usual, "the usual source"), (smaller, "a smaller source"))):
            context.before(words)
            states[k], loss = trial.sweep_to(states[k], sweeps, SWEEPS[-1], context)
            losses.append(loss)
        gain = Gain.over(losses[0].groups, losses[1].groups)
        if gain.opposite.exceeds(BEHIND) or not (gain.certain or sweeps == 1):
            break
    return gain
