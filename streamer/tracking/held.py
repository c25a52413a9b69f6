"""Queue of messages of a scan whose recording is being made or looked up."""

from __future__ import annotations

from collections import OrderedDict

from ptylive.streamer.wire import EndMessage, FramesMessage, Message

MOST_BYTES = 256 * 2**20
_OF_A_PART = 512
"""Overhead of a part in bytes, in addition to its contents: parts may be empty."""


class HeldMessages:
    """Messages by scan, in order of arrival, each with the connection it arrived by; bounded in bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._messages: OrderedDict[str, list[tuple[Message, int | None]]] = OrderedDict()
        self._bytes = 0

    def add(self, message: Message, name: str, source: int | None = None) -> bool:
        """Keep a message behind those of the scan ``name``; False when there is no room for it."""
        nbytes = _nbytes(message)
        if self._bytes + nbytes > self._most_bytes:
            return False
        self._messages.setdefault(name, []).append((message, source))
        self._bytes += nbytes
        return True

    def take(self, name: str) -> list[tuple[Message, int | None]]:
        """Return the messages of a scan and their connections; they are no longer held."""
        messages = self._messages.pop(name, [])
        self._bytes -= sum(_nbytes(message) for message, _ in messages)
        return messages

    @property
    def uids(self) -> list[str]:
        """Scans of which messages are held."""
        return list(self._messages)


def _nbytes(message: Message) -> int:
    if isinstance(message, FramesMessage):
        return sum(_OF_A_PART + memoryview(part).nbytes for part in (b"", *message.parts))
    header = None if isinstance(message, EndMessage) else message.header
    return _OF_A_PART + sum(_OF_A_PART + array.nbytes for array in (header.arrays.values() if header else ()))
