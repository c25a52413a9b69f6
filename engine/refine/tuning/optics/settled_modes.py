"""One probe mode in place of several, chosen by trials that have settled.

Several modes start with a source that is rarely the right one. If one slice represents a particle, or a defocus is
slightly off, their blur compensates that at first, and held-out patterns prefer it in a few sweeps and with few
patterns. In the run the object and the probe absorb the error, and the blur remains. Unless one mode is far behind in
short trials, both are therefore swept as often as in the run, over as many patterns, and then refined by L-BFGS for
some epochs. The lead of one mode only shrinks meanwhile, so one that has fallen far behind stays behind.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing

from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import BEHIND, SEVERAL, TRIAL_PATTERNS, TRIAL_SETTINGS, ModeChoice
from ptylive.engine.refine.tuning.tuned import Tuned

EPOCHS = 4
"""Epochs of L-BFGS: the first ones make up for what the sweeps have left."""
AS_LONG = {"sweeps": "auto", "epoch_max": "auto", "early_stop": False}
"""Length of trials: as long as an automatic run, regardless of the preset."""


def with_settled_modes(tuned: Tuned, choice: ModeChoice | None, context: TrialContext) -> Tuned:
    """Use one probe mode if it predicts better beyond doubt once both have settled, and say why in words."""
    preset = tuned.preset
    if choice is None or not _is_open(choice) or preset.object.slices > 1 or preset.solver.optimizer in PUBLISHED:
        return tuned
    gain = _gain(tuned, min(choice.several, SEVERAL), context)
    if not gain.certain:
        return tuned
    words = f"1 probe mode: predicts held-out patterns better in trials as long as the run's sweeps, by {gain}"
    return tuned.with_settings(words, probe_modes=1)


def _is_open(choice: ModeChoice) -> bool:
    """Whether there are several modes, and one mode is not so far behind that it stays behind."""
    return choice.modes > 1 and not choice.gain.opposite.exceeds(BEHIND)


def _gain(tuned: Tuned, several: int, context: TrialContext) -> Gain:
    """Gain of one mode over several, by the data term of the run."""
    part = context.cache.central_part(tuned.dataset, TRIAL_PATTERNS)
    settings, gain = tuned.preset.model_copy(update=TRIAL_SETTINGS | AS_LONG), Gain(0.0, 0.0)
    with ExitStack() as opened:
        courses = []
        for modes in (several, 1):
            trial = Trial.of(part, settings.model_copy(update={"probe_modes": modes}), context)
            courses.append(opened.enter_context(closing(_course(trial, modes, context))))
        for several_loss, one_loss in zip(*courses, strict=True):
            gain = Gain.over(several_loss.groups, one_loss.groups)
            if gain.opposite.exceeds(BEHIND):
                break
    return gain


def _course(trial: Trial, modes: int, context: TrialContext) -> Generator[HeldOutLoss, None, None]:
    """Yield the losses after half of the sweeps, all of them, and some further epochs."""
    context.before(f"{modes} probe mode{'s' if modes > 1 else ''}, longer trial")
    yield from trial.lbfgs_losses((0, EPOCHS), context, (trial.all_sweeps // 2,))
