"""The cut: groups of equal numbers of patterns by the row of their windows, and the object rows that each group needs.

A tile holds every row that one of its patterns lights, so neighbours share about a window's rows: the halo. A row that
several tiles hold counts in only one of them, so that sums over all parameters are correct.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ptylive.schema.errors import RefinementError
from ptylive.schema.model import IndexArray

Rows = tuple[int, int]
"""First row, and the row after the last."""


@dataclass(frozen=True)
class Segment:
    """Rows of a tile that are lit by patterns of several tiles."""

    rows: Rows
    tiles: tuple[int, ...]
    """In ascending order: all tiles sum in this order, so that copies of a row stay bitwise equal."""


@dataclass(frozen=True)
class Tile:
    """The share of one worker. Rows are those of the whole object."""

    number: int
    tiles: int
    """Total number of tiles."""
    patterns: IndexArray
    """(n,) numbers among all patterns, ascending."""
    rows: Rows
    """Rows of the object that it holds."""
    lit: Rows
    """Rows that its patterns light."""
    own: Rows
    """Rows that count in this tile only."""
    given: tuple[tuple[int, Rows], ...]
    """Rows lit by this tile that another tile also holds: their gradient is sent there."""
    taken: tuple[tuple[int, Rows], ...]
    """Rows lit by another tile: their gradient comes from there."""
    segments: tuple[Segment, ...]
    """The rows of ``taken`` in pieces, each lit by the same tiles."""

    def local(self, rows: Rows) -> slice:
        """Slice of these rows among those held."""
        return slice(rows[0] - self.rows[0], rows[1] - self.rows[0])

    def numbers(self, indices: IndexArray) -> IndexArray:
        """Local numbers of those of the patterns ``indices`` that are in this tile, in the given order."""
        place = np.searchsorted(self.patterns, indices)
        place[place == len(self.patterns)] = 0
        return np.asarray(place[self.patterns[place] == indices])


def cut(first_rows: IndexArray, window: int, rows: int, tiles: int) -> tuple[Tile, ...]:
    """Tiles of an object of ``rows`` rows; first_rows (N,): of each pattern's window of ``window`` rows.

    Raises RefinementError if there are fewer patterns than tiles.
    """
    if not 1 <= tiles <= len(first_rows):
        raise RefinementError(f"{len(first_rows)} patterns cannot be cut into {tiles} tiles", "use fewer workers")
    order = np.argsort(first_rows, kind="stable")
    groups = [np.sort(group) for group in np.array_split(order, tiles)]
    lit = [(int(first_rows[group].min()), int(first_rows[group].max()) + window) for group in groups]
    between = [(above[1] + below[0]) // 2 for above, below in itertools.pairwise(lit)]
    edges = [0, *between, rows]
    own = list(itertools.pairwise(edges))
    stored = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(lit, own, strict=True)]
    cut_tiles = []
    for number, group in enumerate(groups):
        peers = [peer for peer in range(tiles) if peer != number]
        sent = tuple((peer, part) for peer in peers if (part := _common(lit[number], stored[peer])))
        received = tuple((peer, part) for peer in peers if (part := _common(lit[peer], stored[number])))
        segments = _segments(number, lit[number], received)
        cut_tiles.append(Tile(number, tiles, group, stored[number], lit[number], own[number], sent, received, segments))
    return tuple(cut_tiles)


def _common(a: Rows, b: Rows) -> Rows | None:
    first, last = max(a[0], b[0]), min(a[1], b[1])
    return (first, last) if first < last else None


def _segments(number: int, lit: Rows, received: tuple[tuple[int, Rows], ...]) -> tuple[Segment, ...]:
    sources = (*received, (number, lit))
    edges = sorted({edge for _, rows in sources for edge in rows})
    segments = []
    for rows in itertools.pairwise(edges):
        tiles = tuple(sorted(tile for tile, tile_rows in sources if _common(rows, tile_rows)))
        if tiles not in ((), (number,)):
            segments.append(Segment(rows, tiles))
    return tuple(segments)
