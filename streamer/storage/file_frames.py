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

from ptylive.schema.model import Array, IndexArray

SHORT, NEAR, TOGETHER = 2**12, 2**14, 2**22
"""Longest runs that are read with their neighbours, largest distance of these, and length of such a read, in bytes. A
read costs as much as some ten thousand bytes that nobody wants.
"""


class FileFrames:
    """An array (…, Qy, Qx) in C order, of which only the selected parts are read, when they are accessed."""

    def __init__(self, path: Path, dtype: np.dtype[Any], start: int, shape: tuple[int, ...]) -> None:
        """``start``: position of the array in the file, in bytes. Raises OSError."""
        self.shape, self.dtype = tuple(int(n) for n in shape), dtype
        self._start = start
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # also if the name is given to another file later
        weakref.finalize(self, os.close, self._handle)

    def __getitem__(self, selection: Any) -> Array:
        chosen = selection if isinstance(selection, tuple) else (selection,)
        places = [_places(index, length) for index, length in zip(chosen, self.shape, strict=False)]
        places += [range(length) for length in self.shape[len(chosen) :]]
        out = np.empty([len(along) for along in places], self.dtype)
        if out.size:
            self._read(places, out.reshape(-1).view(np.uint8).data)
        return out.squeeze(axis=tuple(axis for axis, index in enumerate(chosen) if not isinstance(index, slice)))

    def _read(self, places: list[range], out: memoryview) -> None:
        """Read the numbers at these places along each axis into memory of their size, run by run. Raises OSError."""
        axis, run = len(places) - 1, 1  # numbers that follow one another in the file
        while axis > 0 and places[axis] == range(self.shape[axis]):
            run *= self.shape[axis]
            axis -= 1
        firsts = np.asarray(places[axis].start if places[axis].step == 1 else places[axis]) * run
        run *= len(places[axis]) if places[axis].step == 1 else 1
        for outer in range(axis - 1, -1, -1):
            firsts = np.add.outer(np.asarray(places[outer]) * math.prod(self.shape[outer + 1 :]), firsts)
        size = run * self.dtype.itemsize
        starts = self._start + np.ravel(firsts) * self.dtype.itemsize
        wanted = np.frombuffer(out, np.uint8).reshape(len(starts), size)
        first = 0
        for last in _groups(starts, size):
            if last == first + 1:
                self._fill(wanted[first].data, int(starts[first]))
            else:
                between = np.empty(int(starts[last - 1] - starts[first]) + size, np.uint8)
                self._fill(between.data, int(starts[first]))
                wanted[first:last] = between[(starts[first:last] - starts[first])[:, None] + np.arange(size)]
            first = last

    def _fill(self, left: memoryview, start: int) -> None:
        """Read as many bytes as fit into memory, from a position in the file. Raises OSError."""
        while left:
            count = os.preadv(self._handle, [left], start)
            if count == 0:
                raise OSError("the file has become shorter since it was opened")
            left, start = left[count:], start + count


def _groups(starts: IndexArray, size: int) -> list[int]:
    """Ends of groups of runs that one read fetches together with what lies between them; ``starts`` in bytes."""
    if size > SHORT:
        return list(range(1, len(starts) + 1))
    steps = np.diff(starts)
    breaks = (np.flatnonzero((steps < size) | (steps > NEAR)) + 1).tolist()
    ends, first = [], 0
    for stop in (*breaks, len(starts)):
        while first < stop:
            first += int(np.searchsorted(starts[first:stop], starts[first] + TOGETHER, side="right"))
            ends.append(first)
    return ends


def _places(index: Any, length: int) -> range:
    """Return the places along an axis that an index selects. Raises IndexError."""
    if isinstance(index, slice):
        return range(*index.indices(length))
    place = range(length)[index]
    return range(place, place + 1)
