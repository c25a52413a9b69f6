"""Memory for arrays: checked before allocation, since sizes may follow from numbers in a file.

An array that does not fit is refused, or placed in a temporary file if its owner asked for that (:class:`Scratch`). A
spilled array behaves like one in memory; the system caches the parts in use as long as memory allows, and the file
disappears with the array, whatever happens to the program. Results do not depend on where an array lies. Its disk space
is reserved when it is made: a disk that filled up later would end the program without a message.
"""

from __future__ import annotations

import ctypes
import logging
import math
import mmap
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import platformdirs
import psutil

from ptylive.schema import MetadataError
from ptylive.schema.model import Array, IndexArray

ALWAYS_IN_MEMORY_BYTES = 64 * 2**20
SHARE_OF_FREE = 0.5
"""Memory that one array may take, as a share of what is free when it is allocated."""
LEFT_FREE_BYTES, LEFT_FREE_SHARE = 2 * 10**9, 0.1
"""What a file leaves free on its disk, on which scans may be recorded at the same time: the smaller of both."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_GLIBC_MOST = (64 * 2**20, 32 * 2**20)
"""Values to which glibc itself raises both thresholds in a program that frees large arrays."""
MOST_ARENAS = 2
"""Pools that all threads of a server allocate from, instead of eight for each core."""

log = logging.getLogger(__name__)


def share_freed_memory() -> bool:
    """Make threads allocate from ``MOST_ARENAS`` pools of the C library; return whether it worked. Call it before any
    thread is started.

    By default every thread has a pool of its own, in which what others have freed cannot be used. In a server the holes
    in them grow by megabytes with each scan (docs/performance.md). Works with glibc only.
    """
    return _set_glibc({_M_ARENA_MAX: MOST_ARENAS})


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the next array, whatever its environment says; return whether it worked.

    Dask starts its workers with MALLOC_TRIM_THRESHOLD_ set, which disables the adaptive thresholds of glibc: every
    array above 128 KiB is then mapped and unmapped, with a page fault for each 4 KiB, a fifth of a refinement's time.
    Works with glibc only.
    """
    return _set_glibc(dict(zip((_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD), _GLIBC_MOST, strict=True)))


def _set_glibc(options: dict[int, int]) -> bool:
    """Set options of glibc's allocator; return whether it took them all."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc; TypeError: Windows
        return False
    return all([mallopt(option, value) == 1 for option, value in options.items()])


def available_bytes() -> float:
    """Return the memory that this process may still allocate: what is free, within the limit set for it."""
    return min(float(psutil.virtual_memory().available), _free_under_limit())


def _free_under_limit() -> float:
    if sys.platform == "win32":
        return math.inf
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else float(max(0, limit - psutil.Process().memory_info().vms))


def check_fits(needed_bytes: float, what: str, remedy: str) -> None:
    """Raise MetadataError if ``what`` would take more memory than there is."""
    free = available_bytes()
    if not math.isfinite(needed_bytes) or needed_bytes > free:
        raise MetadataError(f"{what} would take {needed_bytes / 1e9:.3g} GB, {free / 1e9:.3g} GB are free", remedy)


@dataclass(frozen=True)
class Scratch:
    """Allocator of large arrays. ``folder``: for those that do not fit; None: TMPDIR, or the user's cache."""

    folder: Path | None = None

    def zeros(self, shape: tuple[int, ...], dtype: type[np.generic], what: str) -> Array:
        """Return an array of zeros; ``what`` names its contents in the warning if it goes to a file.

        Raises MetadataError if neither memory nor disk has room.
        """
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        if fits(size):
            return np.zeros(shape, dtype=dtype)
        folder = self._checked(size, what)
        log.warning("%.1f GB of %s do not fit into memory and go to a file in %s: slow", size / 1e9, what, folder)
        try:
            with tempfile.TemporaryFile(prefix="ptylive-", dir=folder) as file:
                _reserve(file, size)
                return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
        except OSError as error:
            raise _no_room(size, what, f"{folder}: {error.strerror or error}") from None

    def check(self, size: int, what: str) -> None:
        """Raise MetadataError if neither memory nor disk has room for an array of this size, without making it."""
        if not fits(size):
            self._checked(size, what)

    def _checked(self, size: int, what: str) -> Path:
        """Return the folder for a file of this size. Raises MetadataError if its disk has no room.

        Reserving fills a disk that is too small before it fails, which takes minutes, while recordings find no room.
        """
        folder = _default_folder() if self.folder is None else self.folder
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise _no_room(size, what, f"{folder}: {error.strerror or error}") from None
        if size > free - min(LEFT_FREE_BYTES, LEFT_FREE_SHARE * free):
            raise _no_room(size, what, f"{folder}: {free / 1e9:.3g} GB free")
        return folder

    def copy(self, array: Array, what: str) -> Array:
        """Return a copy, allocated by the same rule."""
        duplicate = self.zeros(array.shape, array.dtype.type, what)
        duplicate[...] = array
        return duplicate


def _no_room(size: int, what: str, reason: str) -> MetadataError:
    return MetadataError(
        f"{size / 1e9:.1f} GB of {what} fit neither into memory nor on the disk ({reason})",
        "make room, set TMPDIR to a folder with space, give a smaller window_px, or crop or bin the patterns "
        "(ptylive convert)",
    )


def fits(nbytes: float) -> bool:
    """Return whether an array of this size is allocated in memory."""
    return nbytes <= ALWAYS_IN_MEMORY_BYTES or nbytes <= SHARE_OF_FREE * available_bytes()


def _default_folder() -> Path:
    """Return a folder for temporary files that does not itself lie in memory, as ``/tmp`` often does."""
    if os.environ.get("TMPDIR"):
        return Path(tempfile.gettempdir())
    folder = Path(platformdirs.user_cache_dir("ptylive"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir())
    return folder


def _reserve(file: IO[bytes], size: int) -> None:
    """Reserve disk space. Raises OSError if the disk has less room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def bytes_in_files(*arrays: Any) -> int:
    """Return how many bytes of these arrays lie in files."""
    return sum(a.nbytes for a in arrays if isinstance(a, np.memmap))


def expect_rows(array: Array, rows: IndexArray) -> int:
    """Make the system start reading rows (n,) of an array in a file, all at once; return the bytes requested.

    Does nothing for an array in memory. Rows in any order would otherwise be waited for one by one, each with the
    read-ahead of the system, which may be set to megabytes: a sweep over 32 GB of patterns then read 700 GB.
    """
    spilled, will_need = _spilled(array), getattr(mmap, "MADV_WILLNEED", None)
    if spilled is None or will_need is None or len(rows) == 0:
        return 0
    requested = 0
    for start, stop in _byte_ranges(array, rows, _address(array) - _address(spilled)):
        spilled._mmap.madvise(will_need, start, stop - start)  # type: ignore[attr-defined]  # noqa: SLF001
        requested += stop - start
    return requested


def _spilled(array: Array) -> np.memmap[Any, Any] | None:
    """Return the mapped file that an array is a view of, or None."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        base: Any = owner.base
        if isinstance(owner, np.memmap) and isinstance(base, mmap.mmap):
            return owner
        owner = base
    return None


def _byte_ranges(array: Array, rows: IndexArray, offset: int) -> list[tuple[int, int]]:
    """Return the byte ranges in the file, in whole pages, of runs of neighbouring rows; ``offset``: of the array."""
    ordered, step = np.unique(rows), array.strides[0]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 2) > 1)
    last = np.append(first[1:], len(ordered)) - 1
    starts = (offset + ordered[first] * step) // mmap.PAGESIZE * mmap.PAGESIZE
    stops = offset + (ordered[last] + 1) * step
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
