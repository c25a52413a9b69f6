"""Thicknesses that would take many slices, given up early where few slices already predict far worse than one.

A sheet under very many electrons, where every fault of the model shows, seems to gain by depth, the more the thicker,
up to the limit of what is tried: trials of its 68 slices took ten times as long as its refinement. Crystals of as many
depths of focus predict better in few slices, too. Only one that one slice leaves far from explained may be better in
several slices of another form (:mod:`~ptylive.engine.refine.tuning.depth.like_one_slice`), so it is not given up.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.depth_trials import COARSE_SLICES, thickened
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice
from ptylive.engine.refine.tuning.depth.worth_of_slices import compared
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.tuned import Tuned

MANY_SLICES = 2 * COARSE_SLICES
"""Number of slices above which few are tried first: their trial takes a fraction of the time."""
HOPELESS = 0.1
"""Share by which few slices predict worse than one where many need not be tried. Films and crystals that were better in
several predicted better by 2.5 to 63 % in few, twice worse, by 2.5 and 2.8 %; a sheet worse by 20 %
(docs/measured/automatic/depth.md)."""


def hopeless_gain(thin: Tuned, tuned: Tuned, thickness_A: float, context: TrialContext) -> Gain | None:
    """Gain of a thickness in few slices over one slice, where it rules out many; None where it does not.

    ``thin``: as one slice would be refined; ``tuned``: before slices are laid out.
    """
    dataset, preset = thickened(tuned.dataset, tuned.preset, thickness_A, COARSE_SLICES)
    gain, _ = compared(thin, replace(tuned, dataset=dataset, preset=preset), context)
    if gain is None or gain.share > -HOPELESS or not gain.opposite.certain:
        return None
    left = OneSlice(thin, context).left
    return None if left is None or left.is_much else gain
