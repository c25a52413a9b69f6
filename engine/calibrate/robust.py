"""Least squares that outliers do not decide, and models that are judged on data they were not fitted to."""

from __future__ import annotations

import math

import numpy as np

from ptylive.schema.model import DoubleArray

HUBER = 1.5
"""Standard deviations beyond which a residual counts less (Huber, Ann. Math. Statist. 35 (1964) 73): without outliers a
fit is as precise as if it had 96 % of the data."""
OF_MEDIAN = 1.4826
"""Standard deviation of normally distributed numbers, over the median of their absolute values."""
BELIEVED = 2.0
"""Standard errors by which a model must do better on the parts left out to replace a simpler one."""
LEAST_PARTS = 3
"""Fewest parts left out in turn whose scatter says how sure their mean is."""


def huber_weights(deviation: DoubleArray, median: DoubleArray | float) -> DoubleArray:
    """Return weights (..., n) of iteratively reweighted least squares, from absolute residuals (..., n).

    median (..., 1): of those that belong to the fit; their scale follows from it as for a normal distribution.
    """
    scale = np.maximum(OF_MEDIAN * median, 1e-9)  # residuals may all be 0
    return np.asarray(np.minimum(1.0, HUBER * scale / np.maximum(deviation, 1e-12)))


def is_significant(gain: DoubleArray, errors: float = BELIEVED) -> bool:
    """Return whether the mean gain of parts (n,) exceeds zero by that number of standard errors."""
    return len(gain) >= LEAST_PARTS and float(gain.mean()) > errors * float(gain.std(ddof=1)) / math.sqrt(len(gain))
