"""By how much the bright field changes over a scan: whether a specimen is weak, as maps linear in it take it to be."""

from __future__ import annotations

import numpy as np

from ptylive.engine.bases.binned import BinnedPixels
from ptylive.engine.imaging.accumulation.store import Store

MOST_NUMBERS = 2**24
"""Coefficients that are looked at."""
LEAST_POINTS = 64
"""Fewer visited points say nothing about a variance."""


def bright_modulation(store: Store) -> float | None:
    """By how much the bright field changes over the scan: standard deviation of a pixel in its mean, of all on average.

    Where it is small the specimen is weak, and maps that are linear in it may be trusted. Counting noise has no part
    in it: the variance is that which neighbouring parts of the disc have in common. None where there are no such parts,
    or too few points were visited.
    """
    basis, visited = store.reduction.basis, store.visited.ravel()
    if not isinstance(basis, BinnedPixels) or visited.sum() < LEAST_POINTS:
        return None
    sides = np.stack([basis.bin_of[:, :-1].ravel(), basis.bin_of[:, 1:].ravel()])
    pairs = np.unique(sides[:, (sides >= 0).all(axis=0) & (sides[0] != sides[1])], axis=1)
    points = np.flatnonzero(visited)[:: 1 + int(visited.sum()) * basis.count // MOST_NUMBERS]
    bins = np.ascontiguousarray(store.per_frame(store.bins)[points].T, dtype=float)  # one after the other: read often
    mean = bins.mean(axis=1)
    pairs = pairs[:, (mean[pairs] > 0).all(axis=0)]
    if not pairs.size:
        return None
    scale = np.sqrt(mean[pairs[0]] * mean[pairs[1]])
    common = np.array([bins[one] @ bins[other] for one, other in pairs.T]) / len(points) - mean[pairs].prod(axis=0)
    return float(np.sqrt(max(0.0, float((common / scale).sum() / scale.sum()))))
