"""Trials in which one slice and several are each configured as they would be refined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ptylive.engine.refine.problem.strategy import Regime
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS, modes_for_several
from ptylive.engine.refine.tuning.optics.freed_optics import are_freed, freeing_optics
from ptylive.engine.refine.tuning.optics.settled_modes import AS_LONG
from ptylive.engine.refine.tuning.trial_settings import NO_CHANGES
from ptylive.engine.refine.tuning.tuned import Tuned

PATTERNS = 512
"""Number of patterns in the middle of the scan: trials in several slices sweep as often as the run."""
EPOCHS = 4
"""Epochs of L-BFGS after the sweeps of an automatic run: several slices catch up more in them than one slice does."""


def as_refined(
    tuned: Tuned, context: TrialContext, changes: Mapping[str, Any] = NO_CHANGES, patterns: int = PATTERNS
) -> Trial:
    """Trial with the modes that stand for several and the optics that the run refines; one slice uses whole patterns.

    Starts from an empty object: a map has seen the held-out patterns.
    """
    preset = tuned.preset.model_copy(update=TRIAL_SETTINGS | AS_LONG | {"probe_modes": modes_for_several(tuned.preset)})
    if preset.object.slices == 1 and preset.solver.regime == "auto":
        preset = preset.model_copy(update={"regime": str(Regime.THIN)})
    if are_freed(tuned):
        preset = freeing_optics(tuned.dataset, preset)
    preset = preset.model_copy(update=changes)
    part = context.cache.central_part(tuned.dataset, patterns)
    return Trial.of(part, preset, replace(context, start=None, warm_start=tuned.warm_start))
