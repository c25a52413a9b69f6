"""Split the bytes of a TCP stream into whole chunks of packets; other bytes are skipped up to the next chunk."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ptylive.schema import WireError
from ptylive.streamer.protocols.received_bytes import ReceivedBytes
from ptylive.streamer.timepix3.packets import MOST_CHIPS_READ, WORD_BYTES
from ptylive.streamer.wire.arrays import Buffer

DATA_PORT = 8085
"""Port where examples of Serval's raw destination listen."""
SILENCE = b"TPX3\0\0\0\0"
"""A chunk without packets: nothing has arrived for a while."""
_HEADER = struct.Struct("<4sBBH")
_MOST_BYTES = 2**20


class Tpx3RawSplitter(ReceivedBytes):
    """A buffer into which bytes are read, and the chunks that have arrived, as many together as there are."""

    def __init__(self) -> None:
        super().__init__(_MOST_BYTES)

    def read(self, count: int) -> Iterator[Buffer | WireError]:
        """Yield the chunks that ``count`` bytes complete, one behind the other, and the errors of refused bytes. No
        bytes: nothing more has arrived for a while, which is signalled by :data:`SILENCE`. Chunks are parts of the
        buffer: valid until more is read.
        """
        self._last += count
        if not count:
            yield SILENCE
            return
        start = self._first
        while (size := self._next()) is not None:
            if size:
                self._first += size
                continue
            if self._first > start:
                yield self._part(start, self._first)
            skipped = self._skip()
            if not self._skipping:
                yield WireError(f"{skipped} bytes or more that are not a chunk of packets", "not_tpx3")
            self._skipping = True
            start = self._first
            if self._last - start < WORD_BYTES:
                return
        if self._first > start:
            yield self._part(start, self._first)

    def _next(self) -> int | None:
        """Bytes of the chunk that begins here; None when it has not arrived completely, 0 where none begins."""
        available = self._last - self._first
        if available < WORD_BYTES:
            return None
        magic, chip, _, nbytes = _HEADER.unpack_from(self._view, self._first)
        if magic != b"TPX3" or nbytes % WORD_BYTES or chip >= MOST_CHIPS_READ:
            return 0
        self._skipping = False
        return WORD_BYTES + nbytes if available >= WORD_BYTES + nbytes else None

    def _skip(self) -> int:
        """Skip bytes before the next beginning of a chunk; return how many."""
        found = self._bytes.find(b"TPX3", self._first + 1, self._last)
        before, self._first = self._first, found if found >= 0 else max(self._first + 1, self._last - 3)
        return self._first - before
