"""What carries bytes between tiles, and one that does so between threads of a process."""

from __future__ import annotations

import queue
from typing import Protocol


class LinkLost(Exception):
    """A tile will never answer again, or this one is no longer wanted."""


class Link(Protocol):
    """From one tile to all others; between two tiles messages arrive in the order in which they were sent."""

    def send(self, to: int, message: bytes) -> None:
        """Does not wait for who receives it. Raises LinkLost."""
        ...

    def receive(self, source: int) -> bytes:
        """The next message from there, waiting for it. Raises LinkLost."""
        ...


class ThreadLinks:
    """Between ``tiles`` threads of this process."""

    def __init__(self, tiles: int) -> None:
        self._queues: list[list[queue.SimpleQueue[bytes | None]]] = [
            [queue.SimpleQueue() for _ in range(tiles)] for _ in range(tiles)
        ]

    def of(self, tile: int) -> Link:
        """The end that belongs to a tile."""
        return _ThreadLink(tile, self._queues)

    def close(self) -> None:
        """Whoever waits, or will, raises LinkLost."""
        for queues in self._queues:
            for one in queues:
                one.put(None)


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
