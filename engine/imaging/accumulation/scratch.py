"""Large arrays: in memory, or in a temporary file where they would take too much of what is free.

A spilled array behaves as one in memory; the system keeps what is used of it in memory as long as there is room, and
the file is gone with the array, whatever happens to the program. Results do not depend on where an array lies.
"""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ptylive.schema.model import Array

ALWAYS_IN_MEMORY_BYTES = 64 * 2**20
SHARE_OF_FREE = 0.5
"""Memory that one array may take, as a share of what is free when it is made."""

log = logging.getLogger(__name__)


def free_bytes() -> int:
    """Memory that programs may still take."""
    return int(psutil.virtual_memory().available)


@dataclass(frozen=True)
class Scratch:
    """Where large arrays are made. ``folder``: for those that do not fit; None: the system's for temporary files."""

    folder: Path | None = None

    def zeros(self, shape: tuple[int, ...], dtype: type[np.generic], what: str) -> Array:
        """An array of zeros; ``what`` it holds is said where it goes to a file."""
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        if size <= ALWAYS_IN_MEMORY_BYTES or size <= SHARE_OF_FREE * free_bytes():
            return np.zeros(shape, dtype=dtype)
        where = tempfile.gettempdir() if self.folder is None else self.folder
        log.warning("%.1f GB of %s do not fit the memory and go to a file in %s: slow", size / 1e9, what, where)
        with tempfile.TemporaryFile(prefix="ptylive-", dir=where) as file:
            return np.memmap(file, dtype=dtype, mode="w+", shape=shape)

    def copy(self, array: Array, what: str) -> Array:
        """A copy, by the same rule."""
        made = self.zeros(array.shape, array.dtype.type, what)
        made[...] = array
        return made


def bytes_in_files(*arrays: Any) -> int:
    """How much of these arrays lies in files."""
    return sum(a.nbytes for a in arrays if isinstance(a, np.memmap))
