"""The buffer that bytes of a TCP stream are read into, until whole messages have come; bounded by one message.

What has come is handed on as parts of the buffer, without being copied: nothing is written over as long as somebody
holds a part. When a buffer is full, reading goes on in another one that nobody holds, or in a new one.
Few are in use as long as readers keep up.
"""

from __future__ import annotations

import sys
import time

_FIRST_BYTES = 16 * 2**20
"""Much is read at a time: the frames of one read are decoded, journalled and reduced together."""
_LEAST_ROOM = 2**20
_KEPT = 12
"""Buffers that are used again, fresh memory costs as much as filling it: nearly what a full ring of frames holds."""
_USUAL, _BRIEFLY_S, _MOMENT_S = 4, 0.004, 0.0003
"""Buffers in use before one is waited for, briefly, rather than another one taken: readers that keep up let go of the
first ones, which the cache still knows."""


class ReceivedBytes:
    """What every splitter is made of (:class:`ptylive.streamer.protocols.tcp_connection.Splitter`).

    ``most_bytes``: of one message.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes + _LEAST_ROOM
        self._buffers: list[bytearray] = []
        self._bytes = self._unused(_FIRST_BYTES)
        self._view = memoryview(self._bytes)
        self._first = self._last = 0  # what has come and was not handed on
        self._searched = 0  # up to where there is nothing that is looked for
        self._skipping = False

    @property
    def pending(self) -> int:
        """Bytes of a message that has not come whole."""
        return 0 if self._skipping else self._last - self._first

    def room(self) -> memoryview:
        """Where to read the next bytes to: at least one, at most what one message may need."""
        if len(self._bytes) - self._last < _LEAST_ROOM:
            self._go_on_elsewhere()
        return self._view[self._last :]

    def _part(self, start: int, stop: int) -> memoryview:
        """Bytes of the buffer, good as long as they are held."""
        return memoryview(self._bytes)[start:stop]  # of its own, so that the buffer knows that it is held

    def _go_on_elsewhere(self) -> None:
        """Move what is there to the beginning of a buffer that nobody holds, with room for the message that is coming:
        its length is known and bounded, and as much of it has come.
        """
        there = self._view[self._first : self._last]
        nbytes = _FIRST_BYTES
        while nbytes - len(there) < _LEAST_ROOM and nbytes < self._most_bytes:
            nbytes = min(2 * nbytes, self._most_bytes)
        self._bytes = self._unused(nbytes)
        self._view = memoryview(self._bytes)
        self._view[: len(there)] = there
        self._searched = max(0, self._searched - self._first)
        self._first, self._last = 0, len(there)

    def _unused(self, nbytes: int) -> bytearray:
        """A buffer of ``nbytes`` bytes that nobody holds."""
        if nbytes > _FIRST_BYTES:
            return bytearray(nbytes)
        give_up = time.monotonic() + _BRIEFLY_S
        while True:
            for k in range(len(self._buffers)):
                if sys.getrefcount(self._buffers[k]) == 2:  # the list and this question
                    return self._buffers[k]
            if len(self._buffers) < _USUAL or time.monotonic() > give_up:
                break
            time.sleep(_MOMENT_S)
        made = bytearray(nbytes)
        if len(self._buffers) < _KEPT:
            self._buffers.append(made)
        return made
