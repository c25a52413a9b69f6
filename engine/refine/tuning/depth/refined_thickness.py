"""The thickness that trials found, refined together with the object.

Short trials underestimate the thickness of a thick specimen: the effect of several successive scatterings on a pattern
only shows once the object has converged. In the run it has, and the loss leads to the thickness as it does to a
defocus. Slices have to be laid out before, however, so trials that refine the thickness show first where the run will
lead: started at half the thickness, some sweeps move it part of the way; started at the right thickness, they do not
move it. That is the root of a function, found by the secant method.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ptylive.engine.refine.engines.named import PUBLISHED
from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.tuning.depth.as_refined import as_refined
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant

PATTERNS, SWEEPS = 256, 8
"""Size of a trial: twice as many patterns lead to the same result (199 and 149 Å for 193 and 150)."""
ROUNDS = 3
"""Maximum number of trials."""
AT_REST = 0.05
"""Natural logarithm of the factor by which a trial at rest changes the thickness."""
FURTHER, FURTHEST = 2.0, math.log(1.5)
"""Factor by which the next trial starts further away, and its limit: sweeps lead part of the way."""


def with_refined_thickness(tuned: Tuned) -> Tuned:
    """Let the run refine the thickness, unless the preset says otherwise."""
    if not _is_open(tuned):
        return tuned
    return replace(tuned, preset=tuned.preset.model_copy(update={"update_thickness": True}))


def settled_thickness_A(
    thick: Callable[[float], Tuned], thickness_A: float, thickest_A: float, context: TrialContext
) -> float:
    """Thickness at which trials that refine it no longer move it, searched from ``thickness_A`` up to ``thickest_A``.

    ``thick``: data set and preset for a thickness in Å, in as many slices as it would have.
    """
    at, change, most = math.log(thickness_A), 0.0, math.log(max(thickness_A, thickest_A))
    previous: tuple[float, float] | None = None
    for _ in range(ROUNDS):
        tuned = thick(math.exp(at))
        if not _is_open(tuned):
            return math.exp(at)
        change = _log_change(tuned, context)
        if abs(change) < AT_REST:
            break
        step = FURTHER * change
        if previous is not None and change != previous[1]:
            secant = -change * (at - previous[0]) / (change - previous[1])
            step = secant if secant * change > 0 or change * previous[1] < 0 else step
        previous = at, change
        at = min(at + min(max(step, -FURTHEST), FURTHEST), most)
    return math.exp(at)


def _log_change(tuned: Tuned, context: TrialContext) -> float:
    """Natural logarithm of the factor by which a trial changes the thickness."""
    form = tuned.preset.object
    start_A = sum(form.slice_thickness_A)
    context.before(f"{form.slices} slices with refined thickness, starting at {significant(start_A, 3)} Å")
    trial = as_refined(tuned, context, {"update_thickness": True}, PATTERNS)
    sweeps = trial.enough_sweeps(SWEEPS)
    state, _ = trial.sweep_to(None, sweeps, sweeps, context)
    refined_A = float(trial.problem.layout.other_blocks(state.vector)[BlockName.THICKNESS][0])
    return math.log(refined_A / start_A)


def _is_open(tuned: Tuned) -> bool:
    """Whether the run refines the thickness of several slices."""
    preset = tuned.preset
    fixed = preset.refined.update_thickness is False or preset.refined.update_slice_distances
    return not fixed and preset.object.slices > 1 and preset.solver.optimizer not in PUBLISHED
