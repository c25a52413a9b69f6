"""Whether repeated scans show an unchanged specimen: damage and contamination make them differ more and more.

The products of all pairs of n scans, C_jk = S (1 - a (j + k) / 2 - b |j - k|): a of the signal fades with every scan,
and scans differ by b more for every scan between them. Least squares with the covariance that the noise of a scan gives
all of its pairs: var C_jk = (2 S N + N^2) / 2m of m independent frequencies, and S N / 2m between two pairs that share
one scan.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from ptylive.engine.repeats.field import RingPowers
from ptylive.schema.model import DoubleArray

SIGNIFICANT = 4.0
"""Standard errors from which on a change is told: of two numbers by noise alone once in ten thousand."""
LEAST_CHANGE = 0.01
"""Share a scan below which a change is not worth a word."""
UNKNOWN = (0.0, math.inf)

Value = tuple[float, float]


def pair_products(powers: RingPowers) -> tuple[DoubleArray, DoubleArray]:
    """Products of all pairs in the order of `combinations`, of all rings, their mean 1; and their covariance."""
    signal, noise = np.maximum(powers.signal, 0.0), powers.noise
    signal[0] = 0.0  # the shape of the field
    spread = np.maximum(2 * signal * noise + noise**2, 1e-300) / (2 * powers.independent)
    weight = signal / spread
    whole = max(float(weight @ signal), 1e-300)
    pairs = list(combinations(range(powers.products.shape[1]), 2))
    found = np.array([weight @ powers.products[:, j, k] for j, k in pairs]) / whole
    shared = float(weight**2 @ (signal * noise / (2 * powers.independent))) / whole**2
    own = float(weight**2 @ (noise**2 / (2 * powers.independent))) / whole**2
    common = np.array([[len({*one} & {*other}) for other in pairs] for one in pairs], dtype=float)
    return found, shared * common + own * np.eye(len(pairs))


def change(powers: RingPowers) -> tuple[Value, Value]:
    """Shares a and b with their standard errors; not known of fewer than three scans, or without a signal."""
    count = powers.products.shape[1]
    if count < 3 or not (powers.signal[1:] > 0).any():
        return UNKNOWN, UNKNOWN
    found, covariance = pair_products(powers)
    pairs = np.array(list(combinations(range(count), 2)), dtype=float)
    middle, apart = pairs.mean(axis=1), pairs[:, 1] - pairs[:, 0]
    design = np.column_stack([np.ones(len(pairs)), -middle, -apart])
    weighted = np.linalg.solve(covariance, design)
    inverse = np.linalg.inv(design.T @ weighted)
    value = inverse @ (weighted.T @ found)
    scale = max(float(value[0]), 1e-3)  # of what the first scan would have alone
    errors = np.sqrt(np.diag(inverse))
    return (float(value[1] / scale), float(errors[1] / scale)), (float(value[2] / scale), float(errors[2] / scale))


def is_change(value: Value) -> bool:
    """Whether it is one, and large enough to be told. The signal may grow; scans cannot grow more alike."""
    return value[1] > 0 and abs(value[0]) >= max(SIGNIFICANT * value[1], LEAST_CHANGE)
