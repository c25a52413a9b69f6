"""Astigmatism that the maps found but most frequencies of the scan do not confirm, judged by held-out patterns.

For a crystal the maps see two dozen frequencies, and for a thick one they err: deviations from a weak phase object look
like astigmatism. 110 Å of SrTiO3 were assigned 37 Å that are not there, and another crystal 30 Å that are, both with
the same doubt. Patterns distinguish the two once depth is allowed for: six adjacent slices, and six through up to four
depths of focus under either half turn, are compared with and without the astigmatism.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.depth_trials import GATE_PATTERNS, AnyDepth
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import may_be_tried
from ptylive.engine.refine.tuning.optics.freed_optics import with_optics
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant
from ptylive.schema.calibration import C12


def with_confirmed_astigmatism(tuned: Tuned, context: TrialContext) -> Tuned:
    """Remove an astigmatism that the maps found with doubt, if held-out patterns do not prefer it."""
    depth_A = tuned.dataset.calibration.depth_of_focus_A
    if (
        depth_A is None
        or not tuned.dataset.calibration.astigmatism_is_doubted
        or not may_be_tried(tuned.dataset, tuned.preset)
    ):
        return tuned
    size = f"{significant(tuned.dataset.calibration.c12_size_A, 3)} Å"
    plain = with_optics(tuned.dataset, dict.fromkeys(C12, 0.0))
    parts = [context.cache.central_part(dataset, GATE_PATTERNS) for dataset in (tuned.dataset, plain)]
    found, without = (AnyDepth(part, tuned.preset, context, depth_A).lowest() for part in parts)
    gain = Gain.over(without.groups, found.groups)
    if gain.certain:
        words = f"astigmatism of {size}: held-out patterns are predicted better with it, by {gain}"
        return replace(tuned, words=(*tuned.words, words))
    words = f"no astigmatism: {size}, which the maps left in doubt, would not predict held-out patterns better"
    return replace(tuned, dataset=plain, words=(*tuned.words, f"{words} ({gain})"))
