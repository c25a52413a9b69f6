"""Depth that only columns show: a crystal whose refinement from an empty object ends in a wrong minimum shows none."""

from __future__ import annotations

import math
from dataclasses import replace

from ptylive.engine.refine.tuning.depth.depth_trials import FIRST, LESS, THICKEST_A, slices_for, thickened
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, half_turned
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.start.columns import columns_of_some_depth
from ptylive.engine.refine.tuning.tuned import Tuned

DEPTHS = tuple(factor * math.sqrt(LESS * FIRST) for factor in (1, 2, 4))
"""Depths of focus in which columns are looked for: between those that have to show, and two and four times as much."""


def columns_of_depth(tuned: Tuned, context: TrialContext, depth_A: float) -> Tuned | None:
    """Start from columns, if an object of some depth that starts empty misses the right minimum; None if not.

    Every half turn that is open is tried. Columns that only converge sooner also show depth. Columns found under the
    other half turn leave it open again: the skewness that settled it was that of a phase in the wrong minimum.
    """
    possible = [depths for depths in DEPTHS if depths * depth_A <= THICKEST_A]
    halves = [tuned] if not half_turn_is_open(tuned.dataset, tuned.preset) else [tuned, _other_half(tuned)]
    for turned, half in enumerate(halves):
        warm_start = columns_of_some_depth((_through(half, depths, depth_A) for depths in possible), context)
        if warm_start is not None and turned:
            return replace(tuned, warm_start=warm_start.half_turned(), half_turn_settled=False)
        if warm_start is not None:
            return replace(tuned, warm_start=warm_start)
    return None


def _through(tuned: Tuned, depths: float, depth_A: float) -> Tuned:
    """Return a copy with the specimen cut into slices, ``depths`` depths of focus thick in total."""
    dataset, preset = thickened(tuned.dataset, tuned.preset, depths * depth_A, slices_for(depths))
    return replace(tuned, dataset=dataset, preset=preset)


def _other_half(tuned: Tuned) -> Tuned:
    return replace(tuned, dataset=half_turned(tuned.dataset))
