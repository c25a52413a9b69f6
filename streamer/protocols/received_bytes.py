"""Buffer into which bytes of a TCP stream are read until whole messages have arrived; bounded by one message.

Received data are handed on as parts of the buffer, without being copied: nothing is overwritten as long as somebody
holds a part. When a buffer is full, reading continues in another one that nobody holds, or in a new one. Few are in use
as long as readers keep up.
"""

from __future__ import annotations

import sys
import time

_FIRST_BYTES = 16 * 2**20
"""Large amounts are read at a time: the frames of one read are decoded, journalled and reduced together."""
_LEAST_ROOM = 2**20
_KEPT = 12
"""Number of buffers that are reused, as fresh memory costs as much as filling it: nearly what a full ring holds."""
_USUAL, _BRIEFLY_S, _MOMENT_S = 4, 0.004, 0.0003
"""Number of buffers in use from which on to wait briefly for a free one rather than use another: readers that keep up
release the first ones, which are still in the cache.
"""


class ReceivedBytes:
    """Base class of every splitter (:class:`ptylive.streamer.protocols.tcp_connection.Splitter`).

    ``most_bytes``: largest size of one message.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes + _LEAST_ROOM
        self._buffers: list[bytearray] = []
        self._bytes = self._unused(_FIRST_BYTES)
        self._view = memoryview(self._bytes)
        self._first = self._last = 0  # bytes that have arrived and were not handed on
        self._searched = 0  # no marker that is searched for lies before this position
        self._skipping = False

    @property
    def pending(self) -> int:
        """Bytes of a message that has not arrived completely."""
        return 0 if self._skipping else self._last - self._first

    def room(self) -> memoryview:
        """Return memory to read the next bytes into: at least one byte, at most what one message may need."""
        if len(self._bytes) - self._last < _LEAST_ROOM:
            self._switch_buffer()
        return self._view[self._last :]

    def _part(self, start: int, stop: int) -> memoryview:
        """Return bytes of the buffer, valid as long as they are held."""
        return memoryview(self._bytes)[start:stop]  # a view of its own, so that the buffer is known to be held

    def _switch_buffer(self) -> None:
        """Move the pending bytes to the beginning of a buffer that nobody holds, with room for the coming message: its
        length is known and bounded, and as much of it has arrived.
        """
        pending = self._view[self._first : self._last]
        nbytes = _FIRST_BYTES
        while nbytes - len(pending) < _LEAST_ROOM and nbytes < self._most_bytes:
            nbytes = min(2 * nbytes, self._most_bytes)
        self._bytes = self._unused(nbytes)
        self._view = memoryview(self._bytes)
        self._view[: len(pending)] = pending
        self._searched = max(0, self._searched - self._first)
        self._first, self._last = 0, len(pending)

    def _unused(self, nbytes: int) -> bytearray:
        """Return a buffer of ``nbytes`` bytes that nobody holds."""
        if nbytes > _FIRST_BYTES:
            return bytearray(nbytes)
        give_up = time.monotonic() + _BRIEFLY_S
        while True:
            for k in range(len(self._buffers)):
                if sys.getrefcount(self._buffers[k]) == 2:  # the list and the argument of this call
                    return self._buffers[k]
            if len(self._buffers) < _USUAL or time.monotonic() > give_up:
                break
            time.sleep(_MOMENT_S)
        buffer = bytearray(nbytes)
        if len(self._buffers) < _KEPT:
            self._buffers.append(buffer)
        return buffer
