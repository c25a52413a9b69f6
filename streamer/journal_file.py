"""The open file of a journal: every call here may wait for its disk as long as that likes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

_MAX_IOV = 512


class JournalFile:
    """A file that this process alone writes, at its end. Every method may raise OSError."""

    def __init__(self, path: Path, keep_bytes: int) -> None:
        """Open or make it, claim it, and cut it to what is kept of it."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, keep_bytes)
            self.end = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            os.close(self._fd)
            raise

    def write(self, buffers: Sequence[memoryview]) -> None:
        """Append buffers, whole; on failure the file is cut back to its last whole write."""
        left, wanted = list(buffers), sum(map(len, buffers))
        try:
            while left:
                left = _after(left, os.writev(self._fd, left[:_MAX_IOV]))
        except OSError:
            os.ftruncate(self._fd, self.end)
            raise
        self.end += wanted

    def sync(self) -> None:
        """Force everything to the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file, and let others claim it."""
        os.close(self._fd)

    def discard(self) -> None:
        """Remove and close it."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)


def _after(buffers: list[memoryview], written: int) -> list[memoryview]:
    """What is left of ``buffers`` once their first ``written`` bytes have gone."""
    for k, buffer in enumerate(buffers):
        if written < len(buffer):
            return [buffer[written:], *buffers[k + 1 :]]
        written -= len(buffer)
    return []
