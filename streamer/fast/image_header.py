"""Compiled reader of the two texts before each image of DECTRIS stream version 1.

The first (``dimage-1.0``) is parsed: a flat JSON object of texts and integers. The second (``dimage_d-1.0``) is the
same for every image except for ``size``: it is compared with one that Python has parsed. Anything that differs is left
to :class:`ptylive.streamer.protocols.dectris_v1.DectrisV1`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.streamer.fast.memory import INNER

SERIES, NUMBER = 0, 1
"""Positions of the values read."""
_QUOTE, _COLON, _COMMA, _OPEN, _CLOSE, _ESCAPE = 34, 58, 44, 123, 125, 92
_HTYPE, _SERIES, _FRAME = (np.frombuffer(word, np.uint8) for word in (b"htype", b"series", b"frame"))
_DIMAGE = np.frombuffer(b"dimage-1.0", np.uint8)
_MOST_DIGITS = 18


@nb.jit(**INNER)
def _blank(data, at):
    """Position of the next byte that is not white space."""
    while at < data.size and (data[at] == 32 or 9 <= data[at] <= 13):
        at += 1
    return at


@nb.jit(**INNER)
def _string(data, at):
    """A JSON text without escapes at ``at``: (start, end), end -1 for anything else."""
    if at >= data.size or data[at] != _QUOTE:
        return 0, -1
    start = at + 1
    at = start
    while at < data.size and data[at] != _QUOTE:
        if data[at] == _ESCAPE or data[at] < 32 or data[at] > 126:
            return 0, -1
        at += 1
    return (start, at) if at < data.size else (0, -1)


@nb.jit(**INNER)
def _digits(data, at):
    """An unsigned integer at ``at``: (value, next), value -1 for anything else."""
    start, value = at, nb.int64(0)
    while at < data.size and 48 <= data[at] <= 57 and at - start < _MOST_DIGITS:
        value = 10 * value + nb.int64(data[at] - 48)
        at += 1
    if at == start or (data[start] == 48 and at - start > 1):
        return nb.int64(-1), at
    return value, at


@nb.jit(**INNER)
def _equal(data, start, end, word):
    if end - start != word.size:
        return False
    for k in range(word.size):
        if data[start + k] != word[k]:
            return False
    return True


@nb.jit(**INNER)
def read_image_header(data, values):
    """Whether ``data`` (bytes,) uint8 is the plain first text of an image; values int64: its SERIES and NUMBER."""
    at = _blank(data, 0)
    if at >= data.size or data[at] != _OPEN:
        return False
    seen = 0
    while True:
        start, end = _string(data, _blank(data, at + 1))
        if end < 0:
            return False
        at = _blank(data, end + 1)
        if at >= data.size or data[at] != _COLON:
            return False
        at = _blank(data, at + 1)
        bit = 0
        if at < data.size and data[at] == _QUOTE:
            first, last = _string(data, at)
            if last < 0:
                return False
            if _equal(data, start, end, _HTYPE):
                if not _equal(data, first, last, _DIMAGE):
                    return False
                bit = 1
            at = last + 1
        else:
            value, at = _digits(data, at)
            if value < 0:
                return False
            if _equal(data, start, end, _SERIES):
                values[SERIES], bit = value, 2
            elif _equal(data, start, end, _FRAME):
                values[NUMBER], bit = value, 4
        if seen & bit:
            return False
        seen |= bit
        at = _blank(data, at)
        if at >= data.size:
            return False
        if data[at] == _CLOSE:
            return _blank(data, at + 1) == data.size and seen == 7
        if data[at] != _COMMA:
            return False


@nb.jit(**INNER)
def announced_size(data, before, after):
    """The number between ``before`` and ``after`` (bytes,) uint8, of which ``data`` must consist; -1 if it does not."""
    if data.size <= before.size + after.size or not _equal(data, 0, before.size, before):
        return nb.int64(-1)
    value, at = _digits(data, before.size)
    if value < 0 or not _equal(data, at, data.size, after):
        return nb.int64(-1)
    return value
