"""How much the bright field changes over a scan, which shows whether a specimen is weak, as linear maps assume."""

from __future__ import annotations

import numpy as np

from ptylive.engine.bases.binned import BinnedPixels
from ptylive.engine.imaging.accumulation.store import Store

MOST_NUMBERS = 2**24
"""Largest number of coefficients examined."""
LEAST_POINTS = 64
"""Number of visited points below which a variance is meaningless."""


def bright_modulation(store: Store) -> float | None:
    """Return the relative modulation of the bright field over the scan: a pixel's deviation over its mean, averaged.

    If it is small the specimen is weak, and maps that are linear in it can be trusted. Counting noise does not
    contribute: the variance is the covariance of neighbouring parts of the disc. None if there are no such parts, or
    too few points were visited.
    """
    basis, visited = store.reduction.basis, store.visited.ravel()
    if not isinstance(basis, BinnedPixels) or visited.sum() < LEAST_POINTS:
        return None
    sides = np.stack([basis.bin_of[:, :-1].ravel(), basis.bin_of[:, 1:].ravel()])
    pairs = np.unique(sides[:, (sides >= 0).all(axis=0) & (sides[0] != sides[1])], axis=1)
    points = np.flatnonzero(visited)[:: 1 + int(visited.sum()) * basis.count // MOST_NUMBERS]
    bins = np.ascontiguousarray(store.coefficients(points).T, dtype=float)  # contiguous, as each is read often
    mean = bins.mean(axis=1)
    pairs = pairs[:, (mean[pairs] > 0).all(axis=0)]
    if not pairs.size:
        return None
    scale = np.sqrt(mean[pairs[0]] * mean[pairs[1]])
    common = np.array([bins[first] @ bins[second] for first, second in pairs.T]) / len(points) - mean[pairs].prod(
        axis=0
    )
    return float(np.sqrt(max(0.0, float((common / scale).sum() / scale.sum()))))
