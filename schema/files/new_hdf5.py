"""New HDF5 files on disks that may be full.

HDF5 must not learn of a failed write: a file whose writes have failed stays among its open files, and crashes the
process at some later write, at the latest when the process ends. HDF5 is therefore given a file object that remembers
the error, keeps later bytes in memory, and lets HDF5 close it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PAGE = 4096
LIBVER = ("earliest", "v110")
"""Bounds of the file format that every HDF5 reader supports."""


@contextmanager
def for_hdf5(path: Path, mode: str = "w") -> Iterator[Tail]:
    """File object to pass to ``h5py.File`` instead of a path, in the same mode (``w`` or ``r+``); close that file
    first.

    Raises OSError at the end where a write failed. Call :meth:`Tail.check` occasionally while writing much.
    """
    new = os.O_CREAT | os.O_TRUNC if mode == "w" else 0
    handle = os.open(path, os.O_RDWR | new | os.O_CLOEXEC, 0o666)
    try:
        whole = Tail(handle, 0, str(path))
        whole.size = os.fstat(handle).st_size
        yield whole
        whole.check()
        os.ftruncate(handle, whole.size)
    finally:
        os.close(handle)


class Tail(io.RawIOBase):
    """A file as seen by HDF5: writes behind ``end`` go to the disk, those before it only into memory.

    The error of a full disk is stored in ``problem``, and later bytes are kept in memory, so that HDF5 can close.
    """

    def __init__(self, handle: int, end: int, name: str = "") -> None:
        super().__init__()
        self._named = name
        self._handle, self._at = handle, 0
        self.end = end
        self.size = end
        self.problem: OSError | None = None
        self._pages: dict[int, bytearray] = {}

    def check(self) -> None:
        """Raise OSError where a write has failed."""
        if self.problem is not None:
            raise OSError(self.problem.errno, self.problem.strerror, self._named) from self.problem

    def readable(self) -> bool:  # noqa: D102
        return True

    def writable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:  # noqa: D102
        return self._at

    def truncate(self, size: int | None = None) -> int:  # noqa: D102
        self.size = self._at if size is None else size
        return self.size

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        out = memoryview(buffer).cast("B")
        first, count = self._at, max(0, min(len(out), self.size - self._at))
        stored = os.pread(self._handle, count, first)
        out[:count] = stored + bytes(count - len(stored))
        readable = self.end if self.problem is None else self.size  # behind the end, the disk has the written bytes
        for number in self._changed(first, first + count):
            start, stop = max(first, number * PAGE), min(first + count, (number + 1) * PAGE, readable)
            if start < stop:
                out[start - first : stop - first] = self._pages[number][start - number * PAGE : stop - number * PAGE]
        self._at += count
        return count

    def write(self, data: Any) -> int:  # noqa: D102
        given = memoryview(data).cast("B")
        before = min(max(self.end - self._at, 0), len(given))
        self._remember(self._at, given[:before])
        if before < len(given):
            self._store(self._at + before, given[before:])
        self._at += len(given)
        self.size = max(self.size, self._at)
        return len(given)

    def _store(self, at: int, data: memoryview) -> None:
        if self.problem is None:
            try:
                while len(data):
                    written = os.pwrite(self._handle, data, at)
                    at, data = at + written, data[written:]
            except OSError as error:
                self.problem = error
        if self.problem is not None:
            self._remember(at, data)

    def _remember(self, at: int, data: memoryview) -> None:
        while len(data):
            number, within = divmod(at, PAGE)
            page = self._pages.get(number)
            if page is None:
                stored = os.pread(self._handle, PAGE, number * PAGE)
                page = self._pages[number] = bytearray(stored.ljust(PAGE, b"\0"))
            part = data[: PAGE - within]
            page[within : within + len(part)] = part
            at, data = at + len(part), data[len(part) :]

    def _changed(self, first: int, last: int) -> Iterator[int]:
        if len(self._pages) < (last - first) // PAGE:
            yield from (n for n in self._pages if first < (n + 1) * PAGE and n * PAGE < last)
        else:
            yield from (n for n in range(first // PAGE, -(-last // PAGE)) if n in self._pages)
