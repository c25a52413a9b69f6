"""The plane of a single slice below a given focus.

A given defocus is that of the entrance surface. A specimen of some thickness that is refined in one slice is described
best in its middle, half of its thickness below: gold of 40 Å reached 0.91 at the entrance and 0.94 in the middle. How
thick it is nobody said, so the plane is found as an estimated defocus is refined, in trials with object and probe.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import are_enough_frames
from ptylive.engine.refine.tuning.optics.freed_optics import AT_REST, FreedTrials, may_refine_optics, with_optics
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.advice.words import significant

DEEPEST = 1.0
"""Depths of focus below the given focus up to which a single slice is moved: the middle of one of two."""


def in_its_own_plane(thin: Tuned, context: TrialContext) -> Tuned:
    """Move one slice down to where it predicts held-out patterns better beyond doubt, and say so in words."""
    depth_A, dataset = thin.dataset.calibration.depth_of_focus_A, thin.dataset
    enough = are_enough_frames(dataset) and dataset.scan_of is None
    given = dataset.calibration.origin("C10") is Origin.GIVEN
    if depth_A is None or not (enough and given and may_refine_optics(thin.preset)):
        return thin
    trials = FreedTrials(thin.preset, context)
    if not trials.is_thin(dataset):
        return thin
    given_A = dataset.calibration.aberrations["C10"]
    fixed = trials.fixed(dataset)
    found = trials.freed(with_optics(dataset, {"C10": given_A}))
    if not Gain.over(fixed.groups, found.loss.groups).certain:
        return thin
    found = trials.followed(found)
    plane_A = found.dataset.calibration.aberrations["C10"]
    below_A = plane_A - given_A
    if not AT_REST * depth_A < below_A <= DEEPEST * depth_A:
        return thin
    words = f"one slice {significant(below_A, 3)} Å below the given focus, which is that of the entrance surface: "
    words += f"held-out patterns are predicted better, by {Gain.over(fixed.groups, found.loss.groups)}"
    # it stays given: it settles the half turn, and no trial has to confirm it
    calibration = dataset.calibration.having(C10=Quantity(plane_A, Origin.GIVEN))
    return replace(thin, dataset=replace(dataset, calibration=calibration), words=(*thin.words, words))
