"""Bound on the bytes of all journals that wait for a disk: a folder that hangs costs recordings, not memory."""

from __future__ import annotations

import threading
import time

MOST_BYTES = 256 * 2**20
USUAL_BYTES, BRIEFLY_S, ANSWERS_S = 8 * 2**20, 0.005, 0.05
"""Above this, bytes wait only for a slow disk: a disk that has just taken something is given a moment to take more,
because messages in reused memory cost fewer page faults.
"""
STALLED_S = 2.0
"""A disk that has taken nothing for this long does not answer; a slow one takes a piece many times a second."""


class Backlog:
    """Bytes that were handed to journals and are not in their files yet. Callable from any thread."""

    def __init__(self, most_bytes: int = MOST_BYTES, patience_s: float = STALLED_S) -> None:
        self._most_bytes, self._patience_s = most_bytes, patience_s
        self._changed = threading.Condition()
        self._bytes = 0
        self._moved_at = time.monotonic()

    @property
    def nbytes(self) -> int:
        """Number of bytes that wait."""
        return self._bytes

    def has_room(self) -> bool:
        """Whether more bytes may come, now or once the disk has taken some; False when it has stopped taking any."""
        with self._changed:
            if self._bytes > USUAL_BYTES and time.monotonic() - self._moved_at < ANSWERS_S:
                self._changed.wait(BRIEFLY_S)
            while self._bytes >= self._most_bytes:
                seconds_left = self._moved_at + self._patience_s - time.monotonic()
                if seconds_left <= 0:
                    return False
                self._changed.wait(seconds_left)
        return True

    def add(self, nbytes: int) -> None:
        """Count bytes that wait from now on."""
        with self._changed:
            if not self._bytes:
                self._moved_at = time.monotonic()
            self._bytes += nbytes

    def remove(self, nbytes: int) -> None:
        """Remove bytes that were written, or given up."""
        with self._changed:
            self._bytes -= nbytes
            self._moved_at = time.monotonic()
            self._changed.notify_all()
