"""Grouping of patterns into batches: at random, neighbours (compact), or spread over the scan (sparse).

Positions are sorted so that neighbours follow each other (a k-d tree: repeatedly halved along the longer side). Compact
batches are pieces of this order. With n sparse batches, each gets one of every n consecutive positions, and thus covers
the whole scan. PtyRAD and PtychoShelves have the same three names; their compact batches come from k-means, their
sparse ones from farthest points or a Hilbert curve.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from ptylive.schema.model import DoubleArray, IndexArray
from ptylive.schema.preset.solver import BatchChoice


class Batches:
    """The batches of every epoch, determined by a seed."""

    def __init__(self, choice: BatchChoice, positions_px: DoubleArray, seed: int) -> None:
        """``positions_px`` (N, 2): positions of all patterns."""
        self._choice, self._positions, self._seed = choice, positions_px, seed
        self._latest: tuple[tuple[int, int], bytes, list[IndexArray]] | None = None

    def of(self, epoch: int, size: int, chosen: IndexArray | None = None) -> list[IndexArray]:
        """Batches of about ``size`` of the patterns ``chosen`` (None: all), with every pattern in one of them."""
        key, patterns = (epoch, size), b"" if chosen is None else chosen.tobytes()
        if self._latest is None or self._latest[:2] != (key, patterns):
            self._latest = key, patterns, self._drawn(epoch, size, chosen)
        return self._latest[2]

    def _drawn(self, epoch: int, size: int, chosen: IndexArray | None) -> list[IndexArray]:
        indices = np.arange(len(self._positions)) if chosen is None else np.asarray(chosen)
        number = math.ceil(len(indices) / size)
        rng = np.random.default_rng([self._seed, epoch])
        if self._choice == "random":
            order = indices[rng.permutation(len(indices))]
            return [order[first::number] for first in range(number)]
        order = self._ordered if chosen is None else indices[neighbours_in_turn(self._positions[indices])]
        if self._choice == "compact":
            pieces = np.array_split(order, number)
            return [pieces[each] for each in rng.permutation(number)]
        batch = np.concatenate([rng.permutation(number) for _ in range(math.ceil(len(order) / number))])[: len(order)]
        return [order[batch == each] for each in range(number)]

    @cached_property
    def _ordered(self) -> IndexArray:
        return neighbours_in_turn(self._positions)


def neighbours_in_turn(positions: DoubleArray) -> IndexArray:
    """An order of positions (N, 2) in which consecutive positions are close to each other."""
    pieces, leaves = [np.arange(len(positions))], []
    while pieces:
        piece = pieces.pop()
        if len(piece) <= 2:
            leaves.append(piece)
            continue
        at = positions[piece]
        coordinate = at[:, int(np.argmax(np.ptp(at, axis=0)))]
        piece = piece[np.argsort(coordinate, kind="stable")]
        pieces += [piece[len(piece) // 2 :], piece[: len(piece) // 2]]
    return np.concatenate(leaves) if leaves else np.arange(0)
