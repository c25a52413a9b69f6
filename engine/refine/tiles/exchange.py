"""What tiles tell each other: the gradient of shared rows, to neighbours; sums over all tiles, to everybody.

Both are such that all who hold a number hold it to the last bit: rows are added up in the order of the tiles, and sums
in pairs whose halves commute (recursive doubling, Thakur, Rabenseifner and Gropp, Int. J. High Perform. Comput. Appl.
19, 49, 2005: log2 of the number of tiles rounds; tiles beyond a power of two hand their numbers to a partner first).
So every tile takes the same decisions, and copies of a row never drift apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import numpy as np

from ptylive.engine.refine.tiles.cutting import Rows, Tile
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
        start = time.perf_counter()
        for other, rows in self._tile.given:
            self._send(other, self._seam(planes, rows))
        self._add(planes, {other: self._link.receive(other) for other, _ in self._tile.taken})
        self.seconds += time.perf_counter() - start

    def _seam(self, planes: Sequence[Array], rows: Rows) -> bytes:
        """Rows of the arrays for another tile."""
        part = self._tile.local(rows)
        return b"".join(np.ascontiguousarray(each[:, part]).tobytes() for each in planes)

    def _add(self, planes: Sequence[Array], messages: Mapping[int, bytes]) -> None:
        """What has come from other tiles, in the order of the tiles."""
        tile = self._tile
        taken = {other: (rows, messages[other]) for other, rows in tile.taken}
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

    def total(self, sums: Sequence[float], peaks: Sequence[float] = (), array: Array | None = None) -> Shared:
        """Over all tiles: numbers added up, largest numbers, and an array added up."""
        start = time.perf_counter()
        found = self._agreed_on(self._doubled(self._mine(sums, peaks, array)))
        self.seconds += time.perf_counter() - start
        return found

    def add_seams_and_total(
        self, planes: Sequence[Array], light: Array | None, sums: Sequence[float], array: Array | None
    ) -> Shared:
        """:meth:`add_seams` of planes and ``light`` (1, rows held, columns), then :meth:`total`.

        Its one peak is the largest light there is; 0 without one. Two tiles say all of it in one message each: who
        knows what the other has for the shared rows knows the largest of them, too.
        """
        tile = self._tile
        if tile.tiles != 2:
            self.add_seams(planes if light is None else [*planes, light])
            return self.total(sums, [largest_of(light, tile.local(tile.own))], array)
        start, other, added = time.perf_counter(), 1 - tile.number, planes if light is None else [*planes, light]
        seams = [tile.local(segment.rows) for segment in tile.segments]
        first, last = (seams[0].start, seams[-1].stop) if seams else (0, 0)  # one of two tiles has one, if any
        outside = [largest_of(light, slice(0, first)), largest_of(light, slice(last, None))]
        mine = self._mine(sums, [max(outside)], array)
        numbers, given = mine.to_bytes(), dict(tile.given)
        self._send(other, numbers + (self._seam(added, given[other]) if given else b""))
        message = self._link.receive(other)
        found = self._agreed_on(mine.with_those_of(mine.like(message[: len(numbers)])))
        if tile.taken:
            self._add(added, {other: message[len(numbers) :]})
        self.seconds += time.perf_counter() - start
        return found._replace(peaks=np.maximum(found.peaks, largest_of(light, slice(first, last))))

    def _mine(self, sums: Sequence[float], peaks: Sequence[float], array: Array | None) -> Shared:
        """With what is wished for."""
        with self._lock:
            wished, self._wished = self._wished, np.zeros(WISHES)
        return Shared(
            np.concatenate([np.asarray(sums, np.float64), wished]),
            np.asarray(peaks, np.float64),
            np.zeros(0) if array is None else array,
        )

    def _agreed_on(self, found: Shared) -> Shared:
        """Without the wishes, which are remembered."""
        self._agreed += found.sums[-WISHES:]
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


def largest_of(light: Array | None, rows: slice) -> float:
    """Largest illumination in rows held; 0 of none."""
    return 0.0 if light is None else float(light[:, rows].max(initial=0.0))


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
