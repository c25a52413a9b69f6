"""Whether several slices predict patterns better than one, each refined as in the run.

Two slices a depth of focus apart may predict better than two adjacent ones, and several slices still be the worse
model: one slice is a phase at or above vacuum, compared by the likelihood of its counts, while several have another
form, another data term and more parameters for the same electrons. The gain from depth has to exceed the cost of the
slices. This matters for few electrons of a particle; in crystals depth is worth several times as much
(docs/automatic/slices.md).

Least squares of amplitudes pull the faint pixels, of which low-dose patterns consist, to zero; several slices then
predict them worse, however right their object is. If slices that the aperture resolves are not worth it by amplitudes,
the likelihood of their counts is therefore tried too, and they are refined by it if that decides for them.

One slice in a wrong plane is no fair rival either. Short scans move the estimated defocus of a crystal towards its
entrance, while depth trials of several slices have refined theirs; optics that the run would refine are therefore
refined here too. Nor is a phase where one slice predicts far better with absorption
(:mod:`~ptylive.engine.refine.tuning.depth.absorption`): slices that the aperture does not resolve are then damped too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import replace

from ptylive.engine.backend.multislice.problem import DataTermKind
from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.problem.few_electrons import NOISE_SPREAD
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.as_refined import EPOCHS, as_refined
from ptylive.engine.refine.tuning.form_choice import within_a_focus
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.start.goodness_of_fit import counts_per_electron
from ptylive.engine.refine.tuning.tuned import Tuned

WORTH = 0.01
"""Share by which several slices must predict better: by 1.3 % and more where they made the better object, by 0.3 and
0.4 % where they made a worse one (docs/measured/automatic/slices.md)."""
FAINT = 1.0
"""Mean number of electrons outside the bright field below which least squares of amplitudes pull pixels to zero."""
BEYOND_DOUBT = 4.0
"""Standard deviations by which several slices must lead after the sweeps to end the trials there."""


def compared(thin: Tuned, thick: Tuned, context: TrialContext) -> tuple[Gain | None, Tuned]:
    """Compare several slices (``thick``) with one; return the gain and how the slices are refined best.

    The gain is None if it is no valid judge. The slices are refined as they would be, or by the likelihood of their
    counts, with words that say so.
    """
    gain = gain_of_slices(thin, _as_damped_as(thin, thick), context)
    if gain is None or are_worth_it(gain) or within_a_focus(thick) or not _by_amplitudes(thick, context):
        return gain, thick
    counted = replace(thick, preset=thick.preset.model_copy(update={"algorithm": str(DataTermKind.POISSON)}))
    counted_gain = gain_of_slices(thin, counted, context)
    if counted_gain is None or not are_worth_it(counted_gain):
        return gain, thick
    words = f"several slices by the likelihood of counts: with amplitudes they would not predict better (gain {gain})"
    return counted_gain, replace(counted, words=(*thick.words, words))


def _as_damped_as(thin: Tuned, thick: Tuned) -> Tuned:
    """Slices that the aperture does not resolve, damped if one slice is (and nobody stated another form)."""
    form = thin.preset.object
    if not form.weakly_damped_obj or thick.preset.object.phase_only_obj != "auto" or not within_a_focus(thick):
        return thick
    damping = {"weakly_damped_obj": True, "non_negative_phase": form.non_negative_phase}
    return replace(thick, preset=thick.preset.model_copy(update=damping))


def _by_amplitudes(thick: Tuned, context: TrialContext) -> bool:
    """Whether several slices are compared by amplitudes of faint pixels, without that being requested."""
    if thick.preset.loss.algorithm != "auto":
        return False
    problem = as_refined(thick, context).problem
    faint = problem.statistics.dark_counts < FAINT * (counts_per_electron(problem) or 1.0)
    return faint and problem.strategy.kind is DataTermKind.AMPLITUDE


def gain_of_slices(thin: Tuned, thick: Tuned, context: TrialContext) -> Gain | None:
    """Gain of several slices (``thick``) over one, by the likelihood of held-out patterns; None if it cannot judge."""
    if thin.preset.solver.optimizer in PUBLISHED:
        return None
    single, several = (as_refined(tuned, context) for tuned in (thin, thick))
    if single.problem.statistics.noise_spread > NOISE_SPREAD:
        return None
    with ExitStack() as opened:
        courses = [opened.enter_context(closing(_course(trial, context))) for trial in (single, several)]
        gain = Gain(0.0, 0.0)
        for losses in zip(*courses, strict=True):
            gain = Gain.over(*losses)
            if gain.exceeds(BEYOND_DOUBT) and are_worth_it(gain):
                break
    return gain


def are_worth_it(gain: Gain) -> bool:
    """Whether several slices with this gain are used."""
    return gain.certain and gain.share > WORTH


def _course(trial: Trial, context: TrialContext) -> Generator[tuple[float, ...], None, None]:
    """Yield the likelihoods after the sweeps and after some further epochs."""
    slices = trial.preset.object.slices
    context.before("one slice, longer trial" if slices == 1 else f"{slices} slices, longer trial")
    yield from trial.lbfgs_likelihoods((0, EPOCHS), context)
