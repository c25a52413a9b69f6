"""Large work arrays: in memory, or in a temporary file where they would take too much of it.

A spilled array behaves as one in memory; the system keeps what is used of it in memory as long as there is room, and
the file is gone with the array, whatever happens to the program.
"""

from __future__ import annotations

import logging
import tempfile

import numpy as np

from ptylive.schema.model import ComplexArray

SPILL_BYTES = 2 * 2**30
"""Larger arrays go to a file: those of 45 coefficients of scans above 2048 x 2048 or so."""

log = logging.getLogger(__name__)


def zeros(shape: tuple[int, ...]) -> ComplexArray:
    """A complex64 array of zeros."""
    size = 8 * int(np.prod(shape, dtype=np.int64))
    if size <= SPILL_BYTES:
        return np.zeros(shape, dtype=np.complex64)
    log.warning("%.1f GB of transforms go to a file in %s: refreshes will be slow", size / 1e9, tempfile.gettempdir())
    with tempfile.TemporaryFile(prefix="ptylive-") as file:
        return np.memmap(file, dtype=np.complex64, mode="w+", shape=shape)
