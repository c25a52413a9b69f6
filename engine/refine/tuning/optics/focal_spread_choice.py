"""The focal spread that probe modes start with, chosen by held-out patterns.

A focal spread beyond the depth of focus blurs far more than four modes of the usual one describe, and modes keep much
of the blur they start with. What the model then lacks looks like an even stretch of the scan, so that a drift does not
show either. Twice the usual focal spread is therefore tried in twice as many modes where it exceeds the depth of focus
and where several modes are used. It may start behind and catch up, or be ahead only until the object has settled, so
both are swept as often as in the run and then refined by L-BFGS for some epochs.

A specimen that one slice leaves far from explained is likely thick: blur would make up for depth, and is not tried.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing

from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.unexplained import too_little
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import (
    MODE_PATTERNS,
    TRIAL_SETTINGS,
    USUAL_FOCAL_SPREAD_A,
    may_be_tried,
    modes_are_given,
)
from ptylive.engine.refine.tuning.optics.settled_modes import AS_LONG
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant

WIDER = 2
"""Factor on the usual focal spread and on the number of modes."""
FAR_BEHIND = 0.03
"""Share by which the wider one trails after half of the sweeps if it does not catch up: 0.5 and 1.6 % where it was
better in the end, 18 and 45 % where it was not (docs/measured/automatic/probe.md)."""
SURE = 4.0
"""Standard deviations by which the wider one must predict better: 5 and more where it made a better object, 2 where it
made a worse one (docs/measured/automatic/probe.md)."""
EPOCHS = 8
"""Epochs of L-BFGS: 96 Å of a crystal, taken for thin, gained 10 % by the wider one after the sweeps and lost 3 % after
twelve epochs."""


def with_chosen_focal_spread(tuned: Tuned, context: TrialContext) -> Tuned:
    """State twice the usual focal spread and modes if they predict better beyond doubt, and why in words."""
    depth_A = tuned.dataset.calibration.depth_of_focus_A
    if depth_A is None or depth_A > WIDER * USUAL_FOCAL_SPREAD_A or not _is_open(tuned):
        return tuned
    part = context.cache.central_part(tuned.dataset, MODE_PATTERNS)
    settings = tuned.preset.model_copy(update=TRIAL_SETTINGS | AS_LONG)
    usual = decide(context.cache.measure(part, settings), settings, has_start=context.start is not None).coherence
    if usual.modes == 1 or not usual.source_A:  # with a focal spread alone there are not twice as many modes
        return tuned
    modes, spread_A = WIDER * usual.modes, WIDER * USUAL_FOCAL_SPREAD_A
    changes = {"probe_modes": modes, "focal_spread_A": spread_A}
    trials = [Trial.of(part, settings.model_copy(update=update), context) for update in ({}, changes)]
    gain = _gain(trials, context)
    if not gain.exceeds(SURE) or too_little(tuned, context) is not None:
        return tuned
    words = f"focal spread {significant(spread_A, 3)} Å in {modes} probe modes: predicts held-out patterns better than "
    words += f"{USUAL_FOCAL_SPREAD_A:.3g} Å in {usual.modes}, by {gain}"
    return tuned.with_settings(words, **changes)


def _is_open(tuned: Tuned) -> bool:
    """Whether nobody gave a focal spread, start modes, or a number of sweeps, for one slice that may be tried."""
    probe, preset, dataset = tuned.preset.probe, tuned.preset, tuned.dataset
    plain = preset.object.slices == 1 and preset.solver.optimizer not in PUBLISHED and preset.solver.sweeps == "auto"
    blurred = preset.instrument.source_blur_A or preset.instrument.fly_scan_share  # modes for each of its points
    usual = probe.focal_spread_A == USUAL_FOCAL_SPREAD_A and not modes_are_given(probe)
    return usual and plain and not blurred and may_be_tried(dataset, preset)


def _gain(trials: list[Trial], context: TrialContext) -> Gain:
    """Gain of the second trial over the first in the end; after half of the sweeps if that decides."""
    gain = Gain(0.0, 0.0)
    with ExitStack() as opened:
        courses = [opened.enter_context(closing(_course(trial, context))) for trial in trials]
        for usual, wider in zip(*courses, strict=True):
            gain = Gain.over(usual.groups, wider.groups)
            if gain.share < -FAR_BEHIND and gain.opposite.certain:
                break
    return gain


def _course(trial: Trial, context: TrialContext) -> Generator[HeldOutLoss, None, None]:
    """Yield the losses after half of the sweeps, and after all of them and some further epochs."""
    coherence = trial.problem.strategy.coherence
    context.before(f"focal spread {significant(coherence.focal_spread_A, 3)} Å in {coherence.modes} probe modes")
    yield from trial.lbfgs_losses((EPOCHS,), context, (trial.all_sweeps // 2,))
