"""Whether the tilts of several scans have the right sign, tested on held-out patterns if there are enough patterns.

The rotation of a stage in the frame of the detector is easily mistaken. One object explains all scans only under the
right tilts, so a short refinement with the tilts as given is compared with one with all of them reversed. Stated tilts
are kept, and the doubt is reported.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.selection import central
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import TrialContext, held_out_loss
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS, TRIAL_PATTERNS
from ptylive.engine.refine.tuning.trial_settings import of_trials
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.model import IndexArray
from ptylive.schema.preset import Preset

SWEEPS = 4
"""Sweeps of a trial, under the tilts as given and reversed."""
BEYOND_DOUBT = 4.0
"""Standard deviations by which held-out patterns must be predicted better before a stated value is doubted."""
SPLITS = 3
"""Choices of held-out patterns over which a doubt is averaged. With few electrons these, and the order of the batches,
outweigh the scatter of the patterns: of eight orders two showed right tilts to be wrong by more than the limit."""


def with_doubted_tilts(tuned: Tuned, context: TrialContext) -> Tuned:
    """Add a warning that the tilts have the wrong sign, if held-out patterns show it beyond doubt."""
    dataset, preset = tuned.dataset, tuned.preset
    given = preset.scans.scan_tilts_mrad
    if dataset.scan_of is None or given is None or not _is_testable(dataset, preset):
        return tuned
    part = _middles(dataset, dataset.scan_of, TRIAL_PATTERNS // len(given))
    quick = of_trials(preset, 1, frames=True)
    gains: list[Gain] = []
    for split in range(SPLITS):
        losses = []
        for sign, words in ((1, "as given"), (-1, "reversed")):
            context.before(f"the tilts {words}")
            tilts = tuple((sign * row, sign * column) for row, column in given)
            tilted = quick.model_copy(update={"scan_tilts_mrad": tilts})
            losses.append(held_out_loss(part, tilted, SWEEPS, context, split=split).groups)
        gains.append(Gain.over(*losses))
        if not gains[0].exceeds(BEYOND_DOUBT):
            return tuned
    gain = _averaged(gains)
    if not gain.exceeds(BEYOND_DOUBT):
        return tuned
    words = f"the tilts have the wrong sign: reversed, they predict held-out patterns better, by {gain};"
    return replace(tuned, words=(*tuned.words, f"{words} give scan_tilts_mrad with opposite signs"))


def _averaged(gains: list[Gain]) -> Gain:
    """Mean of several gains; its deviation includes the scatter between them."""
    shares = np.array([gain.share for gain in gains])
    variance = float(np.mean([gain.deviation**2 for gain in gains]) + np.var(shares, ddof=1))
    return Gain(float(shares.mean()), math.sqrt(variance / len(gains)))


def _is_testable(dataset: Dataset, preset: Preset) -> bool:
    """Whether tilts make a difference, and there are enough patterns to test them."""
    tilted = bool(np.ptp(preset.scans.scan_tilts_mrad, axis=0).any())  # type: ignore[arg-type]
    return tilted and preset.object.slices > 1 and preset.refined.update_obj and len(dataset.point) >= LEAST_PATTERNS


def _middles(dataset: Dataset, scan_of: IndexArray, most: int) -> Dataset:
    """The middle of each scan."""
    chosen = []
    for scan in np.unique(scan_of):
        indices = np.flatnonzero(scan_of == scan)
        chosen.append(indices[central(dataset.part(indices), most)])
    return dataset.part(np.concatenate(chosen))
