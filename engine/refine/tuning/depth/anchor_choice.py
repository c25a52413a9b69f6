"""The anchor of several slices, chosen by held-out patterns.

The anchor pulls L-BFGS to where the sweeps ended. What several slices have left undone by then differs from crystal to
crystal, whatever the dose: most gain from a weaker pull, others then fit noise and the errors of the model. The middle
of the scan is therefore swept, L-BFGS continues from there under the weaker pull, and held-out patterns judge: it is
used if they continue to be predicted better. Fewer modes than the run's have more left to make up for, and show less.
"""

from __future__ import annotations

from contextlib import closing

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import decide
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS, may_be_tried
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

WEAKER = 0.3
"""Factor on the anchor."""
PATTERNS = 512
"""Number of patterns in the middle of the scan, as in the comparison of slices (:mod:`.as_refined`)."""
EARLY, BETWEEN, LATE = 4, 8, 12
"""Epochs of L-BFGS. The first few lower the loss of held-out patterns in any case."""
BEYOND_DOUBT = 4.0
"""Standard deviations at which the intermediate epochs decide: a fall or rise of that size is not reversed later."""
WORTH = 0.01
"""Share by which the loss must fall from the early to the late epochs: by 2 % and more where the weaker pull made a
better object, by 0.6 % where it made a worse one (docs/measured/automatic/slices.md)."""


def with_chosen_anchor(tuned: Tuned, context: TrialContext) -> Tuned:
    """State the anchor, a weaker one if that predicts better beyond doubt, and why in words."""
    if not _is_open(tuned.dataset, tuned.preset):
        return tuned
    part = context.cache.central_part(tuned.dataset, PATTERNS)
    settings = tuned.preset.model_copy(update=TRIAL_SETTINGS)
    measured = context.cache.measure(part, settings)
    strategy = decide(measured, settings, has_start=context.start is not None)
    weaker = WEAKER * strategy.anchor
    if weaker == 0 or not strategy.sweeps or strategy.epochs == strategy.sweeps:
        return tuned
    gain = _gain(part, settings.model_copy(update={"anchor": weaker}), measured, context)
    if not _is_worth(gain):
        words = (
            f"anchor {strategy.anchor:.2g}: with {weaker:.2g}, the prediction of held-out patterns soon stops improving"
        )
        return tuned.with_settings(f"{words} (gain {gain})", anchor=strategy.anchor)
    words = f"anchor {weaker:.2g}: the prediction of held-out patterns keeps improving with it, by {gain}"
    return tuned.with_settings(words, anchor=weaker)


def _is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether there are several slices whose anchor nobody gave, and enough patterns to try it."""
    solver = preset.solver
    stated = solver.anchor != "auto" or solver.optimizer in PUBLISHED or preset.refined.update_tilts
    return preset.object.slices > 1 and not stated and may_be_tried(dataset, preset)


def _gain(part: Dataset, preset: Preset, measured: Measurement, context: TrialContext) -> Gain:
    """Gain of later epochs over the early ones, by the data term of the run; of the last unless decided before."""
    trial = Trial.of(part, preset, context, measured)
    context.before(f"anchor {trial.problem.strategy.anchor:.2g} in {preset.object.slices} slices")
    with closing(trial.lbfgs_losses((EARLY, BETWEEN, LATE), context)) as losses:
        early = next(losses)
        for later in losses:
            gain = Gain.over(early.groups, later.groups)
            if gain.opposite.exceeds(BEYOND_DOUBT) or (gain.exceeds(BEYOND_DOUBT) and _is_worth(gain)):
                break
    return gain


def _is_worth(gain: Gain) -> bool:
    return gain.certain and gain.share > WORTH
