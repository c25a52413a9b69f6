"""Whether repeated scans show an unchanged specimen: damage and contamination make them differ progressively.

The products of all pairs of n scans are modelled as C_jk = S (1 - a (j + k) / 2 - b |j - k|): a share a of the signal
fades with every scan, and scans differ by a further b for every scan between them. Least squares use the covariance due
to a scan's noise, which affects all of its pairs: var C_jk = (2 S N + N^2) / 2m for m independent frequencies, and
S N / 2m between two pairs that share one scan.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from ptylive.engine.repeats.field import RingPowers
from ptylive.schema.model import DoubleArray

SIGNIFICANT = 4.0
"""Standard errors from which a change is reported: noise alone exceeds it in either number once in ten thousand."""
LEAST_CHANGE = 0.01
"""Share per scan below which a change is not reported."""
UNKNOWN = (0.0, math.inf)

Value = tuple[float, float]


def pair_products(powers: RingPowers) -> tuple[DoubleArray, DoubleArray]:
    """Return products of all pairs in the order of `combinations`, over all rings, mean 1; and their covariance."""
    signal, noise = np.maximum(powers.signal, 0.0), powers.noise
    signal[0] = 0.0  # the shape of the field
    spread = np.maximum(2 * signal * noise + noise**2, 1e-300) / (2 * powers.independent)
    weight = signal / spread
    total = max(float(weight @ signal), 1e-300)
    pairs = list(combinations(range(powers.products.shape[1]), 2))
    values = np.array([weight @ powers.products[:, j, k] for j, k in pairs]) / total
    shared = float(weight**2 @ (signal * noise / (2 * powers.independent))) / total**2
    unshared = float(weight**2 @ (noise**2 / (2 * powers.independent))) / total**2
    common = np.array([[len({*pair} & {*second_pair}) for second_pair in pairs] for pair in pairs], dtype=float)
    return values, shared * common + unshared * np.eye(len(pairs))


def change(powers: RingPowers) -> tuple[Value, Value]:
    """Return shares a and b with standard errors; unknown for fewer than three scans, or without a signal."""
    count = powers.products.shape[1]
    if count < 3 or not (powers.signal[1:] > 0).any():
        return UNKNOWN, UNKNOWN
    values, covariance = pair_products(powers)
    pairs = np.array(list(combinations(range(count), 2)), dtype=float)
    middle, distance = pairs.mean(axis=1), pairs[:, 1] - pairs[:, 0]
    design = np.column_stack([np.ones(len(pairs)), -middle, -distance])
    weighted = np.linalg.solve(covariance, design)
    inverse = np.linalg.inv(design.T @ weighted)
    value = inverse @ (weighted.T @ values)
    scale = max(float(value[0]), 1e-3)  # the value of the first scan alone
    errors = np.sqrt(np.diag(inverse))
    return (float(value[1] / scale), float(errors[1] / scale)), (float(value[2] / scale), float(errors[2] / scale))


def is_change(value: Value) -> bool:
    """Return whether a change is significant and large enough. The signal may grow; scans cannot become more alike."""
    return value[1] > 0 and abs(value[0]) >= max(SIGNIFICANT * value[1], LEAST_CHANGE)
