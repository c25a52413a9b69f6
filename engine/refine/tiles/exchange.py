"""Communication between tiles: gradients of shared rows, between neighbours, and sums over all tiles, for all.

Both are bitwise equal on all tiles that hold them: rows are summed in the order of the tiles, and sums are formed
in pairs with commuting halves (recursive doubling, Thakur, Rabenseifner and Gropp, Int. J. High Perform. Comput. Appl.
19, 49, 2005: log2 of the number of tiles rounds; tiles beyond a power of two first send their numbers to a partner).
Every tile therefore makes the same decisions, and copies of a row never diverge.
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

STOP, KEEP, REQUESTS = 0, 1, 2
"""Requests that any tile may make: to end the run, to save its state; and their number."""


class Shared(NamedTuple):
    """Numbers of one tile, to be combined with those of all."""

    sums: DoubleArray
    """(n,) numbers to be summed."""
    peaks: DoubleArray
    """(m,) numbers of which the largest is taken."""
    array: Array
    """(k,) array to be summed, in its own precision."""

    def combined_with(self, other: Shared) -> Shared:
        """Combine with another tile's numbers; the operation is symmetric."""
        return Shared(self.sums + other.sums, np.maximum(self.peaks, other.peaks), self.array + other.array)

    def to_bytes(self) -> bytes:
        """Serialise for the link."""
        return b"".join(np.ascontiguousarray(part).tobytes() for part in self)

    def like(self, message: bytes) -> Shared:
        """Parse a message from a tile that is at the same point. LinkLost for one that is not."""
        if len(message) != sum(part.nbytes for part in self):
            raise LinkLost("tiles are out of step")
        parts, offset = [], 0
        for part in self:
            parts.append(np.frombuffer(message, part.dtype, part.size, offset))
            offset += part.nbytes
        return Shared(*parts)


class Exchange:
    """Communication of one tile; all tiles must call its methods in the same order. Raises LinkLost."""

    def __init__(self, tile: Tile, link: Link) -> None:
        self._tile, self._link = tile, link
        self._lock = threading.Lock()
        self._requests = np.zeros(REQUESTS)
        self._common_requests = np.zeros(REQUESTS)
        self.seconds, self.sent_bytes = 0.0, 0
        """Seconds spent here, including waiting for others, and bytes sent."""

    def wish(self, request: int) -> None:
        """Make a request to all tiles; may be called from any thread."""
        with self._lock:
            self._requests[request] = 1

    def agreed(self) -> tuple[bool, ...]:
        """Requests that all tiles have received since the last call: the same on all tiles."""
        requests, self._common_requests = self._common_requests, np.zeros(REQUESTS)
        return tuple(bool(request) for request in requests)

    def add_seams(self, planes: Sequence[Array]) -> None:
        """Add the other tiles' contributions for the same rows to arrays (k, rows held, columns), in place."""
        start = time.perf_counter()
        for neighbour, rows in self._tile.given:
            self._send(neighbour, self._seam(planes, rows))
        self._add(planes, {neighbour: self._link.receive(neighbour) for neighbour, _ in self._tile.taken})
        self.seconds += time.perf_counter() - start

    def _seam(self, planes: Sequence[Array], rows: Rows) -> bytes:
        """Serialise rows of the arrays for another tile."""
        part = self._tile.local(rows)
        return b"".join(np.ascontiguousarray(each[:, part]).tobytes() for each in planes)

    def _add(self, planes: Sequence[Array], messages: Mapping[int, bytes]) -> None:
        """Add the contributions of other tiles, in the order of the tiles."""
        tile = self._tile
        received = {neighbour: (rows, messages[neighbour]) for neighbour, rows in tile.taken}
        arrived = {
            neighbour: _planes(message, planes, rows[1] - rows[0]) for neighbour, (rows, message) in received.items()
        }

        def contribution(source: int, rows: Rows, number: int) -> Array:
            """Return one tile's contribution to some rows of the array ``number``."""
            if source == tile.number:
                return planes[number][:, tile.local(rows)]
            first_row = received[source][0][0]
            return arrived[source][number][:, rows[0] - first_row : rows[1] - first_row]

        for segment in tile.segments:
            for number, each in enumerate(planes):
                parts = [contribution(source, segment.rows, number) for source in segment.tiles]
                each[:, tile.local(segment.rows)] = reduce(add, parts)

    def total(self, sums: Sequence[float], peaks: Sequence[float] = (), array: Array | None = None) -> Shared:
        """Combine over all tiles: sums, largest values, and the sum of an array."""
        start = time.perf_counter()
        combined = self._without_requests(self._combined(self._own_numbers(sums, peaks, array)))
        self.seconds += time.perf_counter() - start
        return combined

    def add_seams_and_total(
        self, planes: Sequence[Array], light: Array | None, sums: Sequence[float], array: Array | None
    ) -> Shared:
        """:meth:`add_seams` for planes and ``light`` (1, rows held, columns), then :meth:`total`.

        Its one peak is the largest light of all tiles; 0 without ``light``. Two tiles do this in one message each: a
        tile with the other's data for the shared rows also knows their maximum.
        """
        tile = self._tile
        if tile.tiles != 2:
            self.add_seams(planes if light is None else [*planes, light])
            return self.total(sums, [largest_of(light, tile.local(tile.own))], array)
        start, neighbour, added = time.perf_counter(), 1 - tile.number, planes if light is None else [*planes, light]
        seams = [tile.local(segment.rows) for segment in tile.segments]
        first, last = (seams[0].start, seams[-1].stop) if seams else (0, 0)  # with two tiles there is at most one
        outside = [largest_of(light, slice(0, first)), largest_of(light, slice(last, None))]
        own_numbers = self._own_numbers(sums, [max(outside)], array)
        numbers, sent_rows = own_numbers.to_bytes(), dict(tile.given)
        self._send(neighbour, numbers + (self._seam(added, sent_rows[neighbour]) if sent_rows else b""))
        message = self._link.receive(neighbour)
        combined = self._without_requests(own_numbers.combined_with(own_numbers.like(message[: len(numbers)])))
        if tile.taken:
            self._add(added, {neighbour: message[len(numbers) :]})
        self.seconds += time.perf_counter() - start
        return combined._replace(peaks=np.maximum(combined.peaks, largest_of(light, slice(first, last))))

    def _own_numbers(self, sums: Sequence[float], peaks: Sequence[float], array: Array | None) -> Shared:
        """The local numbers, including requests."""
        with self._lock:
            requests, self._requests = self._requests, np.zeros(REQUESTS)
        return Shared(
            np.concatenate([np.asarray(sums, np.float64), requests]),
            np.asarray(peaks, np.float64),
            np.zeros(0) if array is None else array,
        )

    def _without_requests(self, combined: Shared) -> Shared:
        """Strip the requests from the result and remember them."""
        self._common_requests += combined.sums[-REQUESTS:]
        return combined._replace(sums=combined.sums[:-REQUESTS])

    def _combined(self, total: Shared) -> Shared:
        tiles, number = self._tile.tiles, self._tile.number
        half = 1 << (tiles.bit_length() - 1)
        if number >= half:
            self._send(number - half, total.to_bytes())
            return total.like(self._link.receive(number - half))
        if number + half < tiles:
            total = total.combined_with(total.like(self._link.receive(number + half)))
        step = 1
        while step < half:
            self._send(number ^ step, total.to_bytes())
            total = total.combined_with(total.like(self._link.receive(number ^ step)))
            step *= 2
        if number + half < tiles:
            self._send(number + half, total.to_bytes())
        return total

    def _send(self, tile: int, message: bytes) -> None:
        self._link.send(tile, message)
        self.sent_bytes += len(message)


def largest_of(light: Array | None, rows: slice) -> float:
    """Largest illumination in rows held; 0 for none."""
    return 0.0 if light is None else float(light[:, rows].max(initial=0.0))


def _planes(message: bytes, arrays: Sequence[Array], rows: int) -> list[Array]:
    """Arrays (k, rows, columns) from a message. LinkLost if it belongs to other arrays."""
    parts, offset = [], 0
    for each in arrays:
        count = each.shape[0] * rows * each.shape[2]
        if offset + count * each.itemsize > len(message):
            raise LinkLost("tiles are out of step")
        parts.append(np.frombuffer(message, each.dtype, count, offset).reshape(each.shape[0], rows, each.shape[2]))
        offset += count * each.itemsize
    if offset != len(message):
        raise LinkLost("tiles are out of step")
    return parts
