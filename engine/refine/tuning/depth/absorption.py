"""Whether one slice of a strong specimen is refined with absorption, by the likelihood of held-out patterns.

One slice is a phase at or above vacuum. Heavy particles at high dose scatter many electrons beyond the detector and
inside the slice, which no phase describes: gold of 22 Å at 80 kV left 1.7 times the counting noise. A damped object,
exp(i phi - a) with phi and a at or above 0, predicted its held-out patterns better by a tenth and was the better
object, also than two complex slices, which had been chosen because a phase left so much. Where one slice leaves little
more than counting noise nothing is tried: absorption would add only noise (docs/automatic/slices.md).
"""

from __future__ import annotations

from contextlib import closing

from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.as_refined import EPOCHS, as_refined
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import may_be_tried
from ptylive.engine.refine.tuning.tuned import Tuned

WORTH = 0.05
"""Share by which a damped object must predict better: docs/measured/automatic/slices.md."""
BEYOND_DOUBT = 3.0
"""Standard deviations by which it must: gold that gained 6 ± 3 % was worse with absorption, 0.874 instead of 0.891."""
LEAST_LEFT = 1 + 2 * WORTH
"""Ratio of the held-out loss to that of counting noise below which a damped object is not tried: only noise is left."""


def with_absorption(thin: Tuned, context: TrialContext, single: OneSlice | None = None) -> Tuned:
    """Make one slice a damped object if it predicts far better than a phase, beyond doubt, and say so in words.

    Only where nobody stated the form, and a phase at or above vacuum leaves far more than counting noise. ``single``:
    trial of the phase, if that was asked for before.
    """
    if thin.preset.object.phase_only_obj != "auto" or not may_be_tried(thin.dataset, thin.preset):
        return thin
    single = single or OneSlice(thin, context)
    strategy = single.trial.problem.strategy
    left = single.left if strategy.object_form is ObjectForm.PHASE and strategy.non_negative else None
    if left is None or left.times < LEAST_LEFT:
        return thin
    damping = {"weakly_damped_obj": True, "non_negative_phase": True}
    context.before("one slice with absorption")
    with closing(as_refined(thin, context, damping).lbfgs_likelihoods((EPOCHS,), context)) as losses:
        gain = Gain.over(left.likelihoods, next(losses))
    if not (gain.exceeds(BEYOND_DOUBT) and gain.share > WORTH):
        return thin
    words = f"one slice with absorption: predicts held-out patterns better than a phase, by {gain}"
    return thin.with_settings(words, **damping)
