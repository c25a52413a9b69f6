"""Compiled examination of runs of Merlin frames, without the GIL: which frames match, and their marks.

The results are those of :class:`ptylive.streamer.protocols.merlin.runs.RunTemplate` with numpy.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.schema.model import Array, ByteArray, IndexArray
from ptylive.streamer.fast.memory import COMPILED, INNER, load8
from ptylive.streamer.marks import FACTORS, KIND, LENGTH_FACTOR, WORDS

_LENGTH, _PLAIN = np.uint64(LENGTH_FACTOR), np.uint64(KIND["none"])
_ZERO, _NINE = np.uint8(ord("0")), np.uint8(9)


@nb.jit(**INNER)
def _number(frame, first, stop):
    """The number in columns ``first`` to ``stop`` of a frame at an address; -1 where there is none."""
    number = np.int64(0)
    for k in range(first, stop):
        digit = nb.uint8(load8(frame + nb.uintp(k)) - _ZERO)
        if digit > _NINE:
            return np.int64(-1)
        number = number * 10 + digit
    return number - 1


@nb.jit(**COMPILED)
def _alike(frames, count, stride, places, text, first, stop):
    begins = _number(frames, first, stop)
    for n in range(count):
        frame = frames + nb.uintp(n * stride)
        if begins < 0 or _number(frame, first, stop) != begins + n:
            return begins, n
        for k in range(places.size):
            if load8(frame + nb.uintp(places[k])) != text[k]:
                return begins, n
    return begins, count


@nb.jit(**COMPILED)
def _mark(frames, stride, places, nbytes, marks):
    for n in range(marks.size):
        frame = frames + nb.uintp(n * stride)
        total = nb.uint64(nbytes) * _LENGTH
        for k in range(WORDS):
            word = nb.uint64(0)
            for byte in range(8):
                place = places[8 * k + byte]
                if place >= 0:
                    word |= nb.uint64(load8(frame + nb.uintp(place))) << nb.uint64(8 * byte)
            total += word * FACTORS[k]
        marks[n] = nb.uint32((total >> nb.uint64(34)) << nb.uint64(2) | _PLAIN)


def alike(frames: ByteArray, places: IndexArray, text: ByteArray, digits: slice) -> tuple[int, int]:
    """Number of the first of frames (n, bytes), and how many from it on are consecutive and have ``text`` (m,) at
    ``places`` (m,); ``digits``: position of their numbers.
    """
    memory = frames.ctypes.data, len(frames), frames.strides[0]
    first, count = _alike(*memory, places, text, digits.start, digits.stop)
    return int(first), int(count)


def marks(frames: ByteArray, places: IndexArray, nbytes: int) -> Array:
    """Marks (n,) uint32 of patterns of ``nbytes`` bytes whose marked bytes stand at ``places`` of frames (n, bytes);
    positions below 0 stand for bytes that are 0.
    """
    found = np.empty(len(frames), np.uint32)
    _mark(frames.ctypes.data, frames.strides[0], places, nbytes, found)
    return found
