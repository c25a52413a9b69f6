"""The cut: patterns in groups of equal number by the row of their windows, and the object's rows that each group needs.

A tile holds every row that one of its patterns lights, so neighbours share the rows of about a window: the halo. Of
the rows that several hold each counts in one tile only, so that sums over all parameters come out right.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ptylive.schema.errors import RefinementError
from ptylive.schema.model import IndexArray

Rows = tuple[int, int]
"""First row, and the first one behind."""


@dataclass(frozen=True)
class Segment:
    """Rows of a tile that patterns of several tiles light."""

    rows: Rows
    tiles: tuple[int, ...]
    """In ascending order: everybody adds up in this order, so that copies of a row stay the same to the last bit."""


@dataclass(frozen=True)
class Tile:
    """What one worker has. Rows are those of the whole object."""

    number: int
    tiles: int
    """How many there are."""
    patterns: IndexArray
    """(n,) numbers among all, ascending."""
    rows: Rows
    """Of the object that it holds."""
    lit: Rows
    """That its patterns light."""
    own: Rows
    """That count here and nowhere else."""
    given: tuple[tuple[int, Rows], ...]
    """Rows that another tile holds too and that are lit from here: what they gain is sent there."""
    taken: tuple[tuple[int, Rows], ...]
    """Rows that are lit from another tile: what they gain comes from there."""
    segments: tuple[Segment, ...]
    """The rows of ``taken`` in pieces, each lit from the same tiles."""

    def local(self, rows: Rows) -> slice:
        """Rows among those held."""
        return slice(rows[0] - self.rows[0], rows[1] - self.rows[0])

    def numbers(self, indices: IndexArray) -> IndexArray:
        """Those of the patterns ``indices`` that are here, by their number here, in the order given."""
        place = np.searchsorted(self.patterns, indices)
        place[place == len(self.patterns)] = 0
        return np.asarray(place[self.patterns[place] == indices])


def cut(first_rows: IndexArray, window: int, rows: int, tiles: int) -> tuple[Tile, ...]:
    """Tiles of an object of ``rows`` rows; first_rows (N,): of each pattern's window of ``window`` rows.

    Raises RefinementError where there are fewer patterns than tiles.
    """
    if not 1 <= tiles <= len(first_rows):
        raise RefinementError(f"{len(first_rows)} patterns cannot be cut into {tiles} tiles", "take fewer workers")
    order = np.argsort(first_rows, kind="stable")
    groups = [np.sort(group) for group in np.array_split(order, tiles)]
    lit = [(int(first_rows[group].min()), int(first_rows[group].max()) + window) for group in groups]
    between = [(above[1] + below[0]) // 2 for above, below in itertools.pairwise(lit)]
    edges = [0, *between, rows]
    own = list(itertools.pairwise(edges))
    held = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(lit, own, strict=True)]
    found = []
    for number, group in enumerate(groups):
        others = [other for other in range(tiles) if other != number]
        given = tuple((other, part) for other in others if (part := _common(lit[number], held[other])))
        taken = tuple((other, part) for other in others if (part := _common(lit[other], held[number])))
        segments = _segments(number, lit[number], taken)
        found.append(Tile(number, tiles, group, held[number], lit[number], own[number], given, taken, segments))
    return tuple(found)


def _common(a: Rows, b: Rows) -> Rows | None:
    first, last = max(a[0], b[0]), min(a[1], b[1])
    return (first, last) if first < last else None


def _segments(number: int, lit: Rows, taken: tuple[tuple[int, Rows], ...]) -> tuple[Segment, ...]:
    sources = (*taken, (number, lit))
    edges = sorted({edge for _, rows in sources for edge in rows})
    found = []
    for rows in itertools.pairwise(edges):
        tiles = tuple(sorted(tile for tile, lit_rows in sources if _common(rows, lit_rows)))
        if tiles not in ((), (number,)):
            found.append(Segment(rows, tiles))
    return tuple(found)
