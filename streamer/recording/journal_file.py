"""The file of a journal: every call here may wait for its disk without limit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

SUFFIX = ".journal"
_MAX_IOV = 512
NAME_BEGINS, _NAME_ENDS = 38, 20
"""Of a long series, as many characters of its beginning and its end are in the names of its files."""


class JournalFile:
    """A file that only this process writes, at its end. Every method may raise OSError."""

    def __init__(self, path: Path, keep_bytes: int) -> None:
        """Open or create the file, claim it, and truncate it to ``keep_bytes``."""
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
        """Append whole buffers; on failure the file is cut back to its last whole write."""
        remaining, wanted = list(buffers), sum(map(len, buffers))
        try:
            while remaining:
                remaining = _after(remaining, os.writev(self._fd, remaining[:_MAX_IOV]))
        except OSError:
            os.ftruncate(self._fd, self.end)
            os.lseek(self._fd, self.end, os.SEEK_SET)  # truncating does not move the position of the next write
            raise
        self.end += wanted

    def sync(self) -> None:
        """Force everything to the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Close the file, so that others can claim it."""
        os.close(self._fd)

    def discard(self) -> None:
        """Remove and close the file."""
        try:
            self.path.unlink(missing_ok=True)
        finally:
            os.close(self._fd)


def _after(buffers: list[memoryview], written: int) -> list[memoryview]:
    """Return the rest of ``buffers`` after their first ``written`` bytes."""
    for k, buffer in enumerate(buffers):
        if written < len(buffer):
            return [buffer[written:], *buffers[k + 1 :]]
        written -= len(buffer)
    return []


def new_journal(folder: Path, series: str) -> Path:
    """Create an empty file ``<time>_<series>.journal`` in a folder, which is created if necessary. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}_{series_in_name(series)}"
    for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
        path = folder / f"{stem}{suffix}{SUFFIX}"
        if not path.with_name(f"{stem}{suffix}.h5").exists():
            with contextlib.suppress(FileExistsError):
                path.touch(0o644, exist_ok=False)  # nobody else takes the name meanwhile
                return path
    raise FileExistsError(f"too many recordings called {stem}")


def series_in_name(series: str) -> str:
    """Return a series as the names of its files contain it: a long one without its middle, since runs are numbered at
    the end.
    """
    name = re.sub(r"[^0-9A-Za-z.-]+", "_", series).strip("_.-") or "scan"
    return name if len(name) <= NAME_BEGINS + _NAME_ENDS else f"{name[:NAME_BEGINS]}--{name[-_NAME_ENDS:]}"
