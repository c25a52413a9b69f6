"""Memory for arrays: looked at before they are allocated, since sizes may follow from numbers in a file.

What does not fit is refused, or goes to a temporary file where its owner asks for that (:class:`Scratch`). A spilled
array behaves as one in memory; the system keeps what is used of it in memory as long as there is room, and the file is
gone with the array, whatever happens to the program. Results do not depend on where an array lies. Its room on the disk
is taken when it is made: a disk that is full later would end the program without a word.
"""

from __future__ import annotations

import ctypes
import logging
import math
import mmap
import os
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
"""Memory that one array may take, as a share of what is free when it is made."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_GLIBC_MOST = (64 * 2**20, 32 * 2**20)
"""What glibc itself raises the two to in a program that frees large arrays."""

log = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed for the next array, also where its environment says otherwise.

    Dask starts its workers with MALLOC_TRIM_THRESHOLD_ set, which ends what glibc learns by itself: every array above
    128 KiB is then mapped and unmapped, a page fault for each 4 KiB of it, a fifth of a refinement's time. Of glibc
    only; whether it was done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc; TypeError: Windows
        return False
    options = zip((_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD), _GLIBC_MOST, strict=True)
    return all([mallopt(option, size) == 1 for option, size in options])


def available_bytes() -> float:
    """Memory that this process may still take: what is free, within the limit it was given."""
    return min(float(psutil.virtual_memory().available), _left_of_limit())


def _left_of_limit() -> float:
    if sys.platform == "win32":
        return math.inf
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else float(max(0, limit - psutil.Process().memory_info().vms))


def check_fits(needed_bytes: float, what: str, remedy: str) -> None:
    """Raise MetadataError where ``what`` would take more memory than there is."""
    free = available_bytes()
    if not math.isfinite(needed_bytes) or needed_bytes > free:
        raise MetadataError(f"{what} would take {needed_bytes / 1e9:.3g} GB, {free / 1e9:.3g} GB are free", remedy)


@dataclass(frozen=True)
class Scratch:
    """Where large arrays are made. ``folder``: for those that do not fit; None: TMPDIR, or the user's cache."""

    folder: Path | None = None

    def zeros(self, shape: tuple[int, ...], dtype: type[np.generic], what: str) -> Array:
        """An array of zeros; ``what`` it holds is said where it goes to a file.

        Raises MetadataError where neither memory nor disk have room.
        """
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        if fits(size):
            return np.zeros(shape, dtype=dtype)
        where = _usual_folder() if self.folder is None else self.folder
        log.warning("%.1f GB of %s do not fit the memory and go to a file in %s: slow", size / 1e9, what, where)
        try:
            with tempfile.TemporaryFile(prefix="ptylive-", dir=where) as file:
                _reserve(file, size)
                return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
        except OSError as error:
            why = f"{where}: {error.strerror or error}"
            raise MetadataError(
                f"{size / 1e9:.1f} GB of {what} fit neither the memory nor the disk ({why})",
                "make room, have TMPDIR name a folder with room, or crop or bin the patterns (ptylive convert)",
            ) from None

    def copy(self, array: Array, what: str) -> Array:
        """A copy, by the same rule."""
        made = self.zeros(array.shape, array.dtype.type, what)
        made[...] = array
        return made


def fits(nbytes: float) -> bool:
    """Whether an array of this size is made in memory."""
    return nbytes <= ALWAYS_IN_MEMORY_BYTES or nbytes <= SHARE_OF_FREE * available_bytes()


def _usual_folder() -> Path:
    """A folder for temporary files that is not in memory itself, as ``/tmp`` often is."""
    if os.environ.get("TMPDIR"):
        return Path(tempfile.gettempdir())
    folder = Path(platformdirs.user_cache_dir("ptylive"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir())
    return folder


def _reserve(file: IO[bytes], size: int) -> None:
    """Raises OSError where the disk has less room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def bytes_in_files(*arrays: Any) -> int:
    """How much of these arrays lies in files."""
    return sum(a.nbytes for a in arrays if isinstance(a, np.memmap))


def expect_rows(array: Array, rows: IndexArray) -> int:
    """Have the system begin to read some rows (n,) of an array that lies in a file, all at once; bytes asked for.

    Nothing of an array in memory. Rows in any order would be waited for one after the other, each with what the system
    reads ahead of it, which some set to megabytes: a sweep over 32 GB of patterns read 700 GB there.
    """
    spilled, will_need = _spilled(array), getattr(mmap, "MADV_WILLNEED", None)
    if spilled is None or will_need is None or len(rows) == 0:
        return 0
    asked = 0
    for start, stop in _places(array, rows, _address(array) - _address(spilled)):
        spilled._mmap.madvise(will_need, start, stop - start)  # type: ignore[attr-defined]  # noqa: SLF001
        asked += stop - start
    return asked


def _spilled(array: Array) -> np.memmap[Any, Any] | None:
    """The mapped file that an array is a view of."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        below: Any = owner.base
        if isinstance(owner, np.memmap) and isinstance(below, mmap.mmap):
            return owner
        owner = below
    return None


def _places(array: Array, rows: IndexArray, offset: int) -> list[tuple[int, int]]:
    """From where to where in the file, in whole pages, rows lie that are neighbours; ``offset`` of the array in it."""
    several, step = np.unique(rows), array.strides[0]
    first = np.flatnonzero(np.diff(several, prepend=several[0] - 2) > 1)
    last = np.append(first[1:], len(several)) - 1
    starts = (offset + several[first] * step) // mmap.PAGESIZE * mmap.PAGESIZE
    stops = offset + (several[last] + 1) * step
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
