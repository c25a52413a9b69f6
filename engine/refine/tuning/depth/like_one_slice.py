"""Several slices compared with one in the form of one, where one leaves far more than counting noise.

Several slices are refined by least squares of amplitudes as a complex or damped object, one slice by the likelihood of
its counts as a phase at or above vacuum, or damped. In a trial the slices may therefore follow noise and predict worse,
however right their depth is: crystals of 76 and 94 Å predicted worse by 10 to 27 %, and better by 2 to 8 % as phases by
their counts. They then made the better object, refined in either form (docs/measured/automatic/slices.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.as_refined import as_refined
from ptylive.engine.refine.tuning.depth.unexplained import too_little
from ptylive.engine.refine.tuning.depth.worth_of_slices import are_worth_it, gain_of_slices
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.tuned import Tuned

FORMS = {ObjectForm.PHASE: {"phase_only_obj": True}, ObjectForm.DAMPED: {"weakly_damped_obj": True}}
"""Settings of the forms in which one slice is refined."""


def likeliest_like_one(thin: Tuned, several: Sequence[Tuned], context: TrialContext) -> tuple[Gain, Tuned] | None:
    """Return the slices (of several thicknesses) that gain most over one slice in its form, with words that say so.

    None if one slice leaves little more than counting noise, if none of them are worth it, or if the form is given.
    """
    stated = several[0].preset.object
    given = stated.phase_only_obj != "auto" or stated.weakly_damped_obj
    left = None if given else too_little(thin, context)
    if left is None:
        return None
    strategy = as_refined(thin, context).problem.strategy
    alike: dict[str, Any] = FORMS[strategy.object_form] | {"non_negative_phase": strategy.non_negative}
    if several[0].preset.loss.algorithm == "auto":
        alike["algorithm"] = str(strategy.kind)
    worth = []
    for tuned in several:
        gain = gain_of_slices(thin, replace(tuned, preset=tuned.preset.model_copy(update=alike)), context)
        if gain is not None and are_worth_it(gain):
            words = f"several slices, compared in the form of one ({left}), predict held-out patterns better, by {gain}"
            worth.append((gain, replace(tuned, words=(*tuned.words, words))))
    return max(worth, key=lambda item: item[0].share, default=None)
