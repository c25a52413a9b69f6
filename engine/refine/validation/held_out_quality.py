"""A quality measure for comparing runs: how well the settings predict patterns that they have not seen.

The loss of a run also falls when noise is fitted, and depends on data term and window. Here the settings of a run, with
the decisions of its trials and at the positions that it found, are refined anew for some sweeps on the middle of the
scan without one pattern in eight, which is then compared by its likelihood: the same patterns and the same measure in
every run of a scan. This judges slices, modes, data term, constraints and optics, not the length of the refinement.
Refined positions have seen the held-out patterns, with two numbers for each: a gain due to them alone is no proof.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.held_out import HeldOutQuality
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext, central_part
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.validation.trial_size import LEAST_PATTERNS
from ptylive.schema.preset import Preset

PATTERNS, SWEEPS = 512, 8
"""Same size as the first comparison of depths: a few per cent of the time of a usual run."""
ANEW = {**TRIAL_SETTINGS, "start_from_map": False, "sweeps": SWEEPS, "epoch_max": SWEEPS}
"""From an empty object, since a map was also made from the held-out patterns."""


def held_out_quality(dataset: Dataset, preset: Preset, context: TrialContext) -> HeldOutQuality | None:
    """Quality of a data set under settings that leave nothing open; deterministic for the same input.

    With several scans of one place, patterns of all of them are held out. None if it cannot be determined: too few
    patterns, coefficients, the near field, networks, scans that do not overlap. Raises RefinementError if ``context``
    interrupts.
    """
    supported = dataset.masks is None and preset.prior.method != "dgp"
    if not supported or preset.propagation.near_field or len(dataset.patterns) < LEAST_PATTERNS:
        return None
    part = central_part(dataset, PATTERNS)
    if part.scan_of is not None and len(np.unique(part.scan_of)) < len(part.scan_names):
        return None
    context = replace(context, start=None)
    context.before("held-out patterns, to compare runs")
    trial = Trial.of(part, preset.model_copy(update=ANEW), context)
    groups = trial.likelihood(None, context)
    if not all(map(math.isfinite, groups)):
        return None
    return HeldOutQuality(groups, len(trial.held_out), trial.all_sweeps)
