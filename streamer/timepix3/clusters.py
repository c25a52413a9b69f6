"""Clustering: one electron lights several pixels at once; adjacent, simultaneous hits become one, at their centre."""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import Array, IndexArray

MOST_BEHIND = 256
"""Number of preceding hits that a hit is compared with: at higher rates electrons run into one another anyway."""


def electrons(
    row: IndexArray, column: IndexArray, times: IndexArray, weights: Array, most_apart: float
) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Return row, column and time of each electron, ordered in time, from hits (n,) in any order.

    Hits belong to the same electron if their pixels touch, corners included, and they follow each other by at most
    ``most_apart``. The electron is placed at the pixel nearest to the mean of its hits weighted with ``weights`` (time
    over threshold), at the time of the first hit.
    """
    order = np.argsort(times, kind="stable")
    row, column, times = row[order], column[order], times[order]
    weights = np.maximum(weights[order].astype(float), 1.0)
    pairs: list[tuple[IndexArray, IndexArray]] = []
    for behind in range(1, min(MOST_BEHIND, len(times) - 1) + 1):
        near = times[behind:] - times[:-behind] <= most_apart
        if not near.any():
            break
        touch = (np.abs(row[behind:] - row[:-behind]) <= 1) & (np.abs(column[behind:] - column[:-behind]) <= 1)
        later = np.flatnonzero(near & touch) + behind
        pairs.append((later, later - behind))
    first_hits = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0, np.int64)
    second_hits = np.concatenate([pair[1] for pair in pairs]) if pairs else np.zeros(0, np.int64)
    count, label = _joined(first_hits, second_hits, len(times))
    total = np.bincount(label, weights=weights, minlength=count)
    rows, columns = (
        np.rint(np.bincount(label, weights=weights * place, minlength=count) / total).astype(np.int64)
        for place in (row, column)
    )
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, label, times)
    order = np.argsort(first, kind="stable")
    return rows[order], columns[order], first[order]


def _joined(first_hits: IndexArray, second_hits: IndexArray, length: int) -> tuple[int, IndexArray]:
    """Number of groups that pairs make of ``length`` items, and the group of each: the smallest label spreads."""
    label = np.arange(length)
    while True:
        low = np.minimum(label[first_hits], label[second_hits])
        spread = label.copy()
        np.minimum.at(spread, first_hits, low)
        np.minimum.at(spread, second_hits, low)
        spread = spread[spread]
        if (spread == label).all():
            break
        label = spread
    found, label = np.unique(label, return_inverse=True)
    return len(found), label
