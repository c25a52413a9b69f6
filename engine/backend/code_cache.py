"""Make numba's cache safe: full disks and damaged files stop nothing, and processes never take each other's code.

numba raises errors when it writes and reads its cache: no space in a home with a quota, files that a power cut left
empty. Both would stop every command, the second until somebody empties the cache by hand. numba also numbers the files
of a function after reading the list of them, so two processes that compile the function for different types at one
time may choose the same number, and one type is then run with the code of the other (of the same kind:
https://github.com/numba/numba/issues/10128).
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from ptylive.engine.backend.at_import import change_at_import

CACHING = "numba.core.caching"
LOCK = "writing.lock"


def make_cache_safe() -> None:
    """Make numba work without files that it cannot write or read, and write files that no other process writes."""
    change_at_import(CACHING, _make_safe)


def _make_safe(caching: ModuleType) -> None:
    """Change the class that writes and reads a function's files."""
    files = caching.IndexDataCacheFile
    save, load, data_name = files.save, files.load, files._data_name  # noqa: SLF001

    def saved(self: Any, key: object, data: object) -> None:
        with suppress(OSError), _alone_in(Path(self._cache_path)):
            self.first_number = _number_of(self._dump(key))
            save(self, key, data)

    def named(self: Any, number: int) -> Any:
        """Name a file by the types it is for: numba tries the numbers from 1 on until one is free."""
        return data_name(self, number - 1 + self.first_number)

    def loaded(self: Any, key: object) -> Any:
        try:
            return load(self, key)
        except Exception:  # unpickling a damaged file may raise anything
            with suppress(OSError):
                self.flush()
            return None

    files.save, files.load, files._data_name = saved, loaded, named  # noqa: SLF001


def _number_of(key: bytes) -> int:
    """Return a number that no other key has, by chance less than once in 10^12 functions compiled for 20 types."""
    return int.from_bytes(hashlib.sha256(key).digest()[:6])


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder, where its file system knows locks.

    Elsewhere a process may remove another's entry from the list of files: that function is compiled once more.
    """
    with (folder / LOCK).open("wb") as lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
