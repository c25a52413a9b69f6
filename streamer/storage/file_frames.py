"""Frames stored one after the other at a place in a file, read by ordinary reads.

A mapped file is more convenient, but another program that cuts it short, or a network share that is lost, then ends the
process (SIGBUS) without a word. A read that finds fewer bytes is an error like any other.
"""

from __future__ import annotations

import math
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema.model import Array


class FileFrames:
    """An array (…, Qy, Qx) in C order, of which consecutive patterns are read when they are accessed."""

    def __init__(self, path: Path, dtype: np.dtype[Any], start: int, shape: tuple[int, ...]) -> None:
        """``start``: position of the array in the file, in bytes. Raises OSError."""
        self.shape, self.dtype = tuple(int(n) for n in shape), dtype
        self._start = start
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # also if the name is given to another file later
        weakref.finalize(self, os.close, self._handle)

    def __getitem__(self, selection: Any) -> Array:
        chosen = selection if isinstance(selection, tuple) else (selection,)
        first = 0
        for axis, index in enumerate(chosen):
            inside = math.prod(self.shape[axis + 1 :])
            if not isinstance(index, slice):
                first += range(self.shape[axis])[index] * inside
                continue
            places = range(*index.indices(self.shape[axis]))
            if places.step == 1 and axis == len(chosen) - 1:
                return self._read(first + places.start * inside, (len(places), *self.shape[axis + 1 :]))
            parts = [self[(*chosen[:axis], place, *chosen[axis + 1 :])] for place in places]
            return np.stack(parts, dtype=self.dtype) if parts else np.empty((0, *self.shape[axis + 1 :]), self.dtype)
        return self._read(first, self.shape[len(chosen) :])

    def _read(self, first: int, shape: tuple[int, ...]) -> Array:
        out = np.empty(shape, self.dtype)
        left = out.reshape(-1).view(np.uint8).data
        place = self._start + first * self.dtype.itemsize
        while left:
            count = os.preadv(self._handle, [left], place)
            if count == 0:
                raise OSError("the file has become shorter since it was opened")
            left, place = left[count:], place + count
        return out
