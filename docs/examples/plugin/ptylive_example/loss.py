"""A data term that a few wild pixels do not upset: squares of amplitudes near a fit, their absolute value far from it.

sum w 2 d^2 (sqrt(1 + (x / d)^2) - 1),   x = sqrt(I + c) - sqrt(D + c),   d = 2
"""

from typing import Any

import numpy as np

from ptylive.engine.refine.data_terms.registration import data_term

WILD = 2.0
"""Four standard deviations of a counted amplitude."""
TINY_COUNTS = 1e-12
"""Keeps the derivative at an unlit pixel finite."""


@data_term(
    "robust_amplitude",
    help="amplitudes, far outliers by their absolute value",
    curvature=lambda counts: 0.5 / counts,
    constant="loss_offset",
)
def robust_amplitude(intensity: Any, counts: Any, weights: Any, offset: float) -> tuple[Any, Any]:
    """Loss and dL/dI (n, p, p)."""
    amplitude = np.sqrt(intensity + (offset + TINY_COUNTS))
    away = amplitude - np.sqrt(counts + offset)
    root = np.sqrt(1 + (away / WILD) ** 2)
    return weights * 2 * WILD**2 * (root - 1), weights * away / (amplitude * root)
