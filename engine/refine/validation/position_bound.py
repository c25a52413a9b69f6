"""Lower bound on the uncertainty of a scan position: the Cramér-Rao bound for a known object.

If the bound exceeds the expected error of the positions, refining them individually fits noise: the positions of the
result get worse, though its loss falls (docs/refinement.md, Positions).
"""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.schema.model import Array

SAMPLED_PATTERNS = 64
"""Number of patterns, evenly spread over the scan, for which the bound is computed."""


def position_bound_A(problem: MultisliceProblem, object_planes: Array, probe_planes: Array, pixel_A: float) -> float:
    """Root of the median over patterns of the summed variances along both axes, Å; infinite without information.

    NaN for models beyond the plain far field, for which the information on positions is not derived.
    """
    if problem.model is not None:
        return math.nan
    chosen = np.unique(np.linspace(0, problem.count - 1, min(SAMPLED_PATTERNS, problem.count)).astype(np.int64))
    arrays = GeneralMultislice(problem, np, "complex64", "position bound")
    information = np.asarray(arrays.position_information(object_planes, probe_planes, chosen), dtype=np.float64)
    determinant = np.linalg.det(information)
    valid = determinant > 1e-12 * np.trace(information, axis1=1, axis2=2) ** 2
    if not valid.any():
        return math.inf
    variances = np.trace(information[valid], axis1=1, axis2=2) / determinant[valid]  # trace of a 2 x 2 inverse
    return float(pixel_A * math.sqrt(np.median(variances)))
