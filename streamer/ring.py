"""Queue from the receive thread to its readers: bounded in bytes and slots; one writer, a cursor for each reader.

When the slowest reader is a whole ring behind, the writer waits; the receiver then stops reading its socket and
ZeroMQ's high-water mark slows the sender. Nothing is dropped here. Items are handed over by reference: frames stay in
the memory into which they were received, and the ring bounds how much of it is held.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Condition
from types import TracebackType
from typing import Self

from ptylive.schema import FrameBatch
from ptylive.streamer.events import RingItem

DEFAULT_RING_BYTES = 256 * 2**20
DEFAULT_RING_SLOTS = 4096


@dataclass(frozen=True)
class _Slot:
    item: RingItem
    nbytes: int
    since: float


class Ring:
    """Items in order, kept until every reader has moved past them; without any reader they are released at once."""

    def __init__(self, capacity_bytes: int = DEFAULT_RING_BYTES, slots: int = DEFAULT_RING_SLOTS) -> None:
        self.capacity_bytes = capacity_bytes
        self.capacity_slots = slots
        self._changed = Condition()
        self._slots: deque[_Slot] = deque()
        self._first = 0  # number of the oldest slot held
        self._bytes = 0
        self._cursors: dict[int, int] = {}  # reader -> number of the slot it holds or wants next
        self._next_reader = 0
        self._closed = False
        self.blocked = False
        """Whether a writer is waiting for room."""

    def put(self, item: RingItem) -> bool:
        """Append an item, waiting for room; return False if the ring was closed meanwhile (the item is dropped)."""
        nbytes = item.nbytes if isinstance(item, FrameBatch) else 0
        with self._changed:
            self.blocked = True
            self._changed.wait_for(lambda: self._closed or self._has_room(nbytes))
            self.blocked = False
            if self._closed:
                return False
            self._slots.append(_Slot(item, nbytes, time.monotonic()))
            self._bytes += nbytes
            self._release()
            self._changed.notify_all()
        return True

    def reader(self) -> RingReader:
        """Return a new reader; it sees everything put from now on."""
        with self._changed:
            self._next_reader += 1
            self._cursors[self._next_reader] = self._first + len(self._slots)
            return RingReader(self, self._next_reader)

    def close(self) -> None:
        """Accept no more items; readers finish what is there, and a waiting writer gives up."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def frames_are_read(self, timeout_s: float) -> bool:
        """Whether, now or within ``timeout_s``, no reader has frames in its hands or still to come."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed or not self._bytes, timeout_s)

    @property
    def fill(self) -> float:
        """Fraction of the ring in use, 0 to 1: bytes or slots, whichever is scarcer."""
        return min(1.0, max(self._bytes / self.capacity_bytes, len(self._slots) / self.capacity_slots))

    @property
    def lag_s(self) -> float:
        """Age in s of the oldest item that some reader has not finished."""
        with self._changed:
            return time.monotonic() - self._slots[0].since if self._slots else 0.0

    def _has_room(self, nbytes: int) -> bool:
        """Whether an item fits; an item larger than the whole ring fits when the ring is empty."""
        return not self._slots or (
            len(self._slots) < self.capacity_slots and self._bytes + nbytes <= self.capacity_bytes
        )

    def _release(self) -> None:
        """Drop the slots that every reader has passed."""
        end = self._first + len(self._slots)
        needed = min(self._cursors.values(), default=end)
        while self._first < needed:
            self._bytes -= self._slots.popleft().nbytes
            self._first += 1

    def _take(self, reader: int, start: int, timeout_s: float | None) -> _Slot | None:
        """Return slot ``start`` for a reader that has finished everything before it; None: time-out or the end."""
        with self._changed:
            if reader not in self._cursors:
                return None
            self._cursors[reader] = start
            self._release()
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._closed or reader not in self._cursors or start < self._first + len(self._slots),
                timeout_s,
            )
            if reader not in self._cursors or start >= self._first + len(self._slots):
                return None
            return self._slots[start - self._first]

    def _forget(self, reader: int) -> None:
        with self._changed:
            self._cursors.pop(reader, None)
            self._release()
            self._changed.notify_all()


class RingReader:
    """One reader's way through a ring, for one thread: ``for item in ring.reader(): …``.

    An item is held (and counts towards the ring's fill) until the next one is requested.
    """

    def __init__(self, ring: Ring, number: int) -> None:
        self._ring = ring
        self._number = number
        self._next = ring._cursors[number]  # noqa: SLF001  (a reader is the ring's own other half)

    def __iter__(self) -> Iterator[RingItem]:
        while (item := self.take()) is not None:
            yield item

    def take(self, timeout_s: float | None = None) -> RingItem | None:
        """The next item; None when none arrived in time, or when the ring is closed and everything has been read."""
        slot = self._ring._take(self._number, self._next, timeout_s)  # noqa: SLF001
        if slot is None:
            return None
        self._next += 1
        return slot.item

    @property
    def ring_fill(self) -> float:
        """Fraction in use of the ring it reads, 0 to 1."""
        return self._ring.fill

    @property
    def finished(self) -> bool:
        """Whether no further item will come."""
        ring = self._ring
        return ring._closed and self._next >= ring._first + len(ring._slots)  # noqa: SLF001

    def close(self) -> None:
        """Stop reading; the ring no longer waits for this reader."""
        self._ring._forget(self._number)  # noqa: SLF001

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
