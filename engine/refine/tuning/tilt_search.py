"""The tilt of a specimen, found before the run: refine, measure the shear of the columns, correct its bias.

Resolution along the beam is poor: slices mix, and their measured shear is too small, most of all at the first and the
last slice, which have neighbours on one side only. The bias depends on specimen and optics but can be measured:
patterns are simulated from the specimen and tilt that were found, with new counting noise, and refined in the same way;
the deficit of the tilt found from them is added (a parametric bootstrap; Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 10).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.preset import Preset

SEARCH_PATTERNS = 4096
"""Maximum number of patterns of the search, in the middle of the scan."""

Once = Callable[[Preset, RefineResult | None], RefineResult | None]
"""Refines the patterns under a preset, or instead patterns simulated from a result (None if that is impossible)."""


def find_tilt(preset: Preset, refine_once: Once) -> Preset:
    """Preset with the tilt inside a specimen of several slices; takes about as long as two more runs."""
    first = refine_once(preset, None)
    if first is None:
        return preset
    repeated = refine_once(preset, first)
    return tilted(preset, first, first if repeated is None else repeated)


def tilted(preset: Preset, result: RefineResult, again: RefineResult | None = None) -> Preset:
    """Preset with the tilts of a result, corrected by the deficit of those found ``again``."""
    found = _tilts(result)
    if found is None:
        return preset
    repeated = None if again is None else _tilts(again)
    tilts = found if repeated is None else 2 * found - repeated
    rows = tuple(tuple(float(tilt) for tilt in row) for row in tilts)
    return preset.model_copy(update={"tilts_mrad": rows})


def expected_patterns(problem: Problem, result: RefineResult) -> FloatArray | None:
    """Noise-free patterns (N, P, P) predicted by a result; None unless the model is the plain one.

    In the same order as those of the problem: frequency 0 at [0, 0].
    """
    if problem.multislice.model is not None:
        return None
    problem = WarmStart.of(result).applied(problem)
    physical = problem.layout.physical(problem.start, np)
    arrays = GeneralMultislice(problem.multislice, np, "complex64", "arrays")
    return np.asarray(arrays.expected_patterns(physical.object, physical.probe), dtype=np.float32)


def _tilts(result: RefineResult) -> DoubleArray | None:
    return None if result.refined is None else result.refined.tilts_mrad
