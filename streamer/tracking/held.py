"""Queue of messages of a scan whose recording is being made or looked up."""

from __future__ import annotations

from collections import OrderedDict

from ptylive.streamer.wire import FramesMessage

MOST_BYTES = 256 * 2**20
_OF_A_PART = 512
"""Bytes that a part takes besides what it holds: parts may be empty."""


class HeldMessages:
    """Messages by scan, in the order they came, bounded in bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._messages: OrderedDict[str, list[FramesMessage]] = OrderedDict()
        self._bytes = 0

    def add(self, message: FramesMessage) -> bool:
        """Keep a message; False when there is no room for it."""
        nbytes = _nbytes(message)
        if self._bytes + nbytes > self._most_bytes:
            return False
        self._messages.setdefault(message.uid, []).append(message)
        self._bytes += nbytes
        return True

    def take(self, uid: str) -> list[FramesMessage]:
        """The messages of a scan, which are no longer held."""
        messages = self._messages.pop(uid, [])
        self._bytes -= sum(map(_nbytes, messages))
        return messages

    @property
    def uids(self) -> list[str]:
        """Scans that messages are held of."""
        return list(self._messages)


def _nbytes(message: FramesMessage) -> int:
    return sum(_OF_A_PART + memoryview(part).nbytes for part in (b"", *message.parts))
