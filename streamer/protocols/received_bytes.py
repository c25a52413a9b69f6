"""The buffer that bytes of a TCP stream are read into, until whole messages have come; bounded by one message."""

from __future__ import annotations

_FIRST_BYTES = 2**20


class ReceivedBytes:
    """What every splitter is made of (:class:`ptylive.streamer.protocols.tcp_connection.Splitter`).

    ``most_bytes``: of one message.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = bytearray(min(_FIRST_BYTES, most_bytes))
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
        if self._first == self._last or self._last == len(self._bytes):
            self._to_the_beginning()
        if self._last == len(self._bytes):
            self._grow()
        return self._view[self._last :]

    def _to_the_beginning(self) -> None:
        """Move what is there to the beginning of the buffer."""
        there = bytes(self._view[self._first : self._last])
        self._view[: len(there)] = there
        self._searched = max(0, self._searched - self._first)
        self._first, self._last = 0, len(there)

    def _grow(self) -> None:
        """Make room for the message that is coming: its length is known and bounded, and as much of it has come."""
        grown = bytearray(min(2 * len(self._bytes), self._most_bytes))
        grown[: self._last] = self._view[: self._last]
        self._bytes, self._view = grown, memoryview(grown)
