"""Transport of bytes between tiles, and an implementation for threads of one process."""

from __future__ import annotations

import queue
from typing import Protocol


class LinkLost(Exception):
    """A tile will never answer again, or this tile is no longer needed."""


class Link(Protocol):
    """Link from one tile to all others; messages between two tiles arrive in the order in which they were sent."""

    def send(self, to: int, message: bytes) -> None:
        """Send without waiting for the receiver. Raises LinkLost."""
        ...

    def receive(self, source: int) -> bytes:
        """Wait for the next message from a tile and return it. Raises LinkLost."""
        ...


class ThreadLinks:
    """Links between ``tiles`` threads of this process."""

    def __init__(self, tiles: int) -> None:
        self._queues: list[list[queue.SimpleQueue[bytes | None]]] = [
            [queue.SimpleQueue() for _ in range(tiles)] for _ in range(tiles)
        ]

    def of(self, tile: int) -> Link:
        """The end of the links that belongs to a tile."""
        return _ThreadLink(tile, self._queues)

    def close(self) -> None:
        """Make all current and future waits raise LinkLost."""
        for queues in self._queues:
            for waiting in queues:
                waiting.put(None)


class _ThreadLink:
    def __init__(self, tile: int, queues: list[list[queue.SimpleQueue[bytes | None]]]) -> None:
        self._tile, self._queues = tile, queues

    def send(self, to: int, message: bytes) -> None:
        self._queues[self._tile][to].put(message)

    def receive(self, source: int) -> bytes:
        message = self._queues[source][self._tile].get()
        if message is None:
            self._queues[source][self._tile].put(None)
            raise LinkLost("closed")
        return message
