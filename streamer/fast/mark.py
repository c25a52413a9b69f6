"""The marks of :mod:`ptylive.streamer.marks` in compiled code: computed while the frame is still in the cache."""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.streamer.fast.memory import COMPILED, load8, load64
from ptylive.streamer.marks import FACTORS, LENGTH_FACTOR, WORDS

_LENGTH = np.uint64(LENGTH_FACTOR)


@nb.jit(**COMPILED)
def mark(address, nbytes, kind):
    """The mark of a frame of ``nbytes`` bytes (int64) at an address (uintp); uint32."""
    total = nb.uint64(nbytes) * _LENGTH
    if nbytes < 8:
        word = nb.uint64(0)
        for k in range(nbytes):
            word |= nb.uint64(load8(address + nb.uintp(k))) << nb.uint64(8 * k)
        for k in range(WORDS):
            total += word * FACTORS[k]
    else:
        for k in range(WORDS):
            start = (nbytes - 8) * k // (WORDS - 1)
            total += load64(address + nb.uintp(start)) * FACTORS[k]
    return nb.uint32((total >> nb.uint64(34)) << nb.uint64(2) | nb.uint64(kind))
