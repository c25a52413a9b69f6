"""Form of an object of several slices (complex, damped, or a phase at or above vacuum), chosen by held-out patterns.

A complex object absorbs what a model of few slices lacks (electrons scattered beyond the detector, or inside a slice),
and some crystals reach their minimum only through one. Where little is lacking, a phase has half the parameters and
half of the noise that enters them. After a few sweeps held-out patterns distinguish the two. A gain of a few per cent
is no reason to choose a phase: it then predicts better and shows atoms too broad. A complex object errs less where it
errs, so it is kept unless a phase is far better beyond doubt.

If a phase is not far behind and the slices lie within about a depth of focus, only noise distinguishes what consecutive
slices contain, and a complex object may place gain (amplification) next to absorption. It is then restricted to what a
specimen can be: exp(i phi - a) with phi and a at or above 0. Few electrons do not determine absorption either: the
object is then a phase at or above vacuum, however thick.

The trials of a phase do not use the bound to vacuum: it slows their first sweeps, and the run gains by it where there
is vacuum. A film has none: its phase varies about a mean that no pattern determines, and parts that fall from a start
at 0 are held there until the whole phase has been lifted. A damped object is therefore tried with and without the
bound, for the sweeps of the run and some further epochs, and freed of it if that predicts held-out patterns far better.

A film of several depths of focus is a phase if that predicts better in trials of this length.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.few_electrons import are_few
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import (
    CONFIRMING_PATTERNS,
    MODE_PATTERNS,
    TRIAL_SETTINGS,
    may_be_tried,
    modes_for_several,
)
from ptylive.engine.refine.tuning.optics.random_specimen import projected_phase, semiangle_invA, spectral_contrast
from ptylive.engine.refine.tuning.optics.settled_modes import AS_LONG, EPOCHS
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

FIRST_SWEEPS, SWEEPS = 2, 5
"""Sweeps before a phase may be given up, and in all: after one sweep it may be behind and still win in the end."""
WORTH = 0.1
"""Share by which a phase must predict better. Where it was the better object, it did so by 16 % and more; where a
complex one was better, by at most 6 % (docs/measured/automatic/slices.md)."""
THIN_DEPTHS = 1.25
"""Depths of focus within which an object is damped unless a phase is far better or far behind
(docs/automatic/slices.md)."""
HOPELESS_SHARE, HOPELESS_DEVIATIONS = 0.5, 4.0
"""A phase is given up when its gain is below this share of the required gain by that many standard deviations."""
LATTICE = 3.0
"""Spectral contrast of a phase, added over its slices, from which it shows a clear lattice. Films have 1.9 to 2.2, one
of them 2.7, as one crystal has that is also better as a phase; other crystals have 3.6 and more."""
FREEING = 0.01
"""Share by which a damped object must predict better without the bound: it did by 1.9 % and more where that improved a
film, by 0.9 % at most where a particle or a crystal was worse (docs/measured/automatic/slices.md)."""


def with_chosen_form(tuned: Tuned, context: TrialContext) -> Tuned:
    """Choose a phase if it predicts far better beyond doubt, or a damped object, and state the decision in words."""
    if not _is_open(tuned.dataset, tuned.preset):
        return tuned
    gain, no_lattice = _gain_of_a_phase(tuned, context)
    few = _of_few_electrons(tuned, context)
    if no_lattice and not few and not _far_behind(gain) and not within_a_focus(tuned):
        return _of_a_film(tuned, context)
    form = tuned.preset.object
    bound = True if form.non_negative_phase == "auto" else form.non_negative_phase
    if gain.certain and gain.share > WORTH:
        words = f"phase only: predicts held-out patterns better than a complex object, by {gain}"
        return tuned.with_settings(words, phase_only_obj=True, non_negative_phase=bound)
    if few and not _far_behind(gain):
        words = "phase only: few electrons, and a complex object does not predict held-out patterns much better"
        words += f" (gain {gain.opposite})"
        return tuned.with_settings(words, phase_only_obj=True, non_negative_phase=bound)
    if not _far_behind(gain) and within_a_focus(tuned):
        words = f"weakly damped object: the slices lie within {THIN_DEPTHS:g} depths of focus"
        words += ", and a complex object does not predict held-out patterns much better than a phase"
        words += f" (gain {gain.opposite})"
        damped = tuned.with_settings(words, weakly_damped_obj=True, non_negative_phase=bound)
        if form.non_negative_phase != "auto":
            return damped
        return _freed_of_the_bound(damped, _gain_without_the_bound(damped, context))
    words = f"complex object: a phase would not predict held-out patterns much better (gain {gain})"
    return tuned.with_settings(words)


def _of_a_film(tuned: Tuned, context: TrialContext) -> Tuned:
    """Choose a phase for a film if that predicts better beyond doubt, in trials that settle.

    Without columns nothing is channelled, and every slice is another image: short trials show little of it.
    """
    stated = tuned.preset.object.non_negative_phase
    phase = {"phase_only_obj": True, "non_negative_phase": False if stated == "auto" else stated}
    complex_loss = _settled_loss(tuned, "a complex object", context, phase_only_obj=False)
    phase_loss = _settled_loss(tuned, "a phase", context, **phase)
    gain = Gain.over(complex_loss.groups, phase_loss.groups)
    if not gain.certain:
        return tuned.with_settings(f"complex object: a phase would not predict held-out patterns better (gain {gain})")
    words = f"phase only: there is no clear lattice, and a phase predicts held-out patterns better, by {gain}"
    tuned = tuned.with_settings(words, **phase)
    if stated != "auto":
        return tuned
    bounded = _settled_loss(tuned, "a phase at or above vacuum", context, non_negative_phase=True)
    return _freed_of_the_bound(tuned, Gain.over(bounded.groups, phase_loss.groups), least=0.0)


def _far_behind(gain: Gain) -> bool:
    """Whether a phase predicts worse by more than ``WORTH``, beyond doubt."""
    return Gain(-gain.share - WORTH, gain.deviation).certain


def within_a_focus(tuned: Tuned) -> bool:
    """Whether the slices are too close together for the aperture to distinguish them."""
    depth = tuned.dataset.calibration.depth_of_focus_A
    return depth is not None and sum(tuned.preset.object.slice_thickness_A) < THIN_DEPTHS * depth


def _freed_of_the_bound(tuned: Tuned, gain: Gain, least: float = FREEING) -> Tuned:
    """Free an object of the bound to vacuum if that gains more than ``least`` beyond doubt, and say why in words."""
    if not (gain.certain and gain.share > least):
        much = "much " if least > 0 else ""
        words = f"phase at or above vacuum: without this bound it would not predict {much}better (gain {gain})"
        return tuned.with_settings(words, non_negative_phase=True)
    words = f"phase not bounded by vacuum: this predicts held-out patterns better, by {gain}"
    return tuned.with_settings(words, non_negative_phase=False)


def _gain_without_the_bound(damped: Tuned, context: TrialContext) -> Gain:
    """Gain of a damped object whose phase is not bounded at 0, by the data term of the run, in trials that settle."""
    bounded = _settled_loss(damped, "a damped object at or above vacuum", context, non_negative_phase=True)
    free = _settled_loss(damped, "a damped object without this bound", context, non_negative_phase=False)
    return Gain.over(bounded.groups, free.groups)


def _settled_loss(tuned: Tuned, words: str, context: TrialContext, **settings: Any) -> HeldOutLoss:
    """Loss of held-out patterns by the data term of the run, in a trial of all sweeps and some epochs.

    The trial starts from an empty object: a map has seen the held-out patterns.
    """
    context.before(words)
    part = context.cache.central_part(tuned.dataset, MODE_PATTERNS)
    settings |= TRIAL_SETTINGS | AS_LONG | {"probe_modes": modes_for_several(tuned.preset)}
    trial = Trial.of(part, tuned.preset.model_copy(update=settings), replace(context, start=None))
    (loss,) = trial.lbfgs_losses((EPOCHS,), context)
    return loss


def _is_open(dataset: Dataset, preset: Preset) -> bool:
    """Whether there are several slices whose form nobody chose, and enough patterns to try it."""
    form = preset.object
    stated = form.phase_only_obj != "auto" or form.weakly_damped_obj or preset.solver.optimizer in PUBLISHED
    return form.slices > 1 and not stated and may_be_tried(dataset, preset)


def _of_few_electrons(tuned: Tuned, context: TrialContext) -> bool:
    part = context.cache.central_part(tuned.dataset, CONFIRMING_PATTERNS)
    return are_few(context.cache.measure(part, tuned.preset).statistics)


def _gain_of_a_phase(tuned: Tuned, context: TrialContext) -> tuple[Gain, bool]:
    """Gain of a phase over a complex object, by the data term of the run; after the first sweeps if they suffice.

    Also whether the phase shows no clear lattice.
    """
    part = context.cache.central_part(tuned.dataset, CONFIRMING_PATTERNS)
    settings = tuned.preset.model_copy(update=TRIAL_SETTINGS | {"probe_modes": 1})
    forms = ({"phase_only_obj": False}, {"phase_only_obj": True, "non_negative_phase": False})
    trials = [Trial.of(part, settings.model_copy(update=form), context) for form in forms]
    most = trials[0].enough_sweeps(SWEEPS)
    states: list[SweepState | None] = [None, None]
    gain = Gain(0.0, 0.0)
    for sweeps in (FIRST_SWEEPS, most):
        losses: list[HeldOutLoss] = []
        for k, words in enumerate(("a complex object", "a phase")):
            context.before(f"{words} in {tuned.preset.object.slices} slices")
            states[k], loss = trials[k].sweep_to(states[k], sweeps, most, context)
            losses.append(loss)
        gain = Gain.over(losses[0].groups, losses[1].groups)
        if gain.share + HOPELESS_DEVIATIONS * gain.deviation < HOPELESS_SHARE * WORTH:
            break
    return gain, _lacks_a_lattice(trials[1], states[1])


def _lacks_a_lattice(trial: Trial, state: SweepState | None) -> bool:
    """Whether the phase of a trial, added over its slices, shows no clear lattice; False for an unknown aperture."""
    dataset = trial.problem.measured.dataset
    if state is None or dataset.calibration.depth_of_focus_A is None:
        return False
    return spectral_contrast(*projected_phase(trial.problem, state.vector), semiangle_invA(dataset)) < LATTICE
