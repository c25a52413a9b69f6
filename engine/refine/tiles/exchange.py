"""What tiles tell each other: the gradient of shared rows, to neighbours; sums over all tiles, to everybody.

Both are such that all who hold a number hold it to the last bit: rows are added up in the order of the tiles, and sums
in pairs whose halves commute (recursive doubling, Thakur, Rabenseifner and Gropp, Int. J. High Perform. Comput. Appl.
19, 49, 2005: log2 of the number of tiles rounds; tiles beyond a power of two hand their numbers to a partner first).
So every tile takes the same decisions, and copies of a row never drift apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from ptylive.engine.refine.tiles.cutting import Tile
from ptylive.engine.refine.tiles.links import Link, LinkLost
from ptylive.schema.model import Array, DoubleArray

STOP, KEEP = 0, 1
"""Wishes that any tile may have: to end the run, to keep its state."""
WISHES = 2


class Shared(NamedTuple):
    """Numbers of one tile on their way to those of all."""

    sums: DoubleArray
    """(n,) to be added."""
    peaks: DoubleArray
    """(m,) of which the largest counts."""
    array: Array
    """(k,) to be added, in its own precision."""

    def with_those_of(self, other: Shared) -> Shared:
        """Of both; the same whichever is asked."""
        return Shared(self.sums + other.sums, np.maximum(self.peaks, other.peaks), self.array + other.array)

    def to_bytes(self) -> bytes:
        """For the link."""
        return b"".join(np.ascontiguousarray(part).tobytes() for part in self)

    def like(self, message: bytes) -> Shared:
        """Of a message from a tile that is at the same point. LinkLost for one that is not."""
        if len(message) != sum(part.nbytes for part in self):
            raise LinkLost("tiles are out of step")
        parts, first = [], 0
        for part in self:
            parts.append(np.frombuffer(message, part.dtype, part.size, first))
            first += part.nbytes
        return Shared(*parts)


class Exchange:
    """The talk of one tile; everything in it is called by all tiles in the same order. Raises LinkLost."""

    def __init__(self, tile: Tile, link: Link) -> None:
        self._tile, self._link = tile, link
        self._lock = threading.Lock()
        self._wished = np.zeros(WISHES)
        self._agreed = np.zeros(WISHES)
        self.seconds, self.sent_bytes = 0.0, 0
        """Spent here, waiting for others included, and sent."""

    def wish(self, what: int) -> None:
        """Ask all tiles for something; from any thread."""
        with self._lock:
            self._wished[what] = 1

    def agreed(self) -> tuple[bool, ...]:
        """Which wishes all tiles have heard since this was last asked: the same everywhere."""
        found, self._agreed = self._agreed, np.zeros(WISHES)
        return tuple(bool(one) for one in found)

    def add_seams(self, planes: Sequence[Array]) -> None:
        """Add to arrays (k, rows held, columns) what the other tiles have for the same rows, in their place."""
        start, tile = time.perf_counter(), self._tile
        for other, rows in tile.given:
            part = tile.local(rows)
            self._send(other, b"".join(np.ascontiguousarray(each[:, part]).tobytes() for each in planes))
        taken = {other: (rows, self._link.receive(other)) for other, rows in tile.taken}
        arrived = {other: _planes(message, planes, rows[1] - rows[0]) for other, (rows, message) in taken.items()}
        for segment in tile.segments:
            here = tile.local(segment.rows)
            for number, each in enumerate(planes):
                parts = []
                for source in segment.tiles:
                    if source == tile.number:
                        parts.append(each[:, here])
                    else:
                        above = taken[source][0][0]
                        first, last = segment.rows[0] - above, segment.rows[1] - above
                        parts.append(arrived[source][number][:, first:last])
                each[:, here] = reduce(add, parts)
        self.seconds += time.perf_counter() - start

    def total(self, sums: Sequence[float], peaks: Sequence[float] = (), array: Array | None = None) -> Shared:
        """Over all tiles: numbers added up, largest numbers, and an array added up."""
        start = time.perf_counter()
        with self._lock:
            wished, self._wished = self._wished, np.zeros(WISHES)
        mine = Shared(
            np.concatenate([np.asarray(sums, np.float64), wished]),
            np.asarray(peaks, np.float64),
            np.zeros(0) if array is None else array,
        )
        found = self._doubled(mine)
        self._agreed += found.sums[-WISHES:]
        self.seconds += time.perf_counter() - start
        return found._replace(sums=found.sums[:-WISHES])

    def _doubled(self, mine: Shared) -> Shared:
        tiles, me = self._tile.tiles, self._tile.number
        half = 1 << (tiles.bit_length() - 1)
        if me >= half:
            self._send(me - half, mine.to_bytes())
            return mine.like(self._link.receive(me - half))
        if me + half < tiles:
            mine = mine.with_those_of(mine.like(self._link.receive(me + half)))
        step = 1
        while step < half:
            self._send(me ^ step, mine.to_bytes())
            mine = mine.with_those_of(mine.like(self._link.receive(me ^ step)))
            step *= 2
        if me + half < tiles:
            self._send(me + half, mine.to_bytes())
        return mine

    def _send(self, to: int, message: bytes) -> None:
        self._link.send(to, message)
        self.sent_bytes += len(message)


def _planes(message: bytes, like: Sequence[Array], rows: int) -> list[Array]:
    """Arrays (k, rows, columns) of a message. LinkLost where it is of other ones."""
    parts, first = [], 0
    for each in like:
        count = each.shape[0] * rows * each.shape[2]
        if first + count * each.itemsize > len(message):
            raise LinkLost("tiles are out of step")
        parts.append(np.frombuffer(message, each.dtype, count, first).reshape(each.shape[0], rows, each.shape[2]))
        first += count * each.itemsize
    if first != len(message):
        raise LinkLost("tiles are out of step")
    return parts
