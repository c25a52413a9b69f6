"""Compiled reader of an image of DECTRIS stream version 2: one CBOR map, whose array holds one bslz4 byte string.

Keys may come in any order; those that no image needs are skipped. The array's own encoding (channel, shape, type,
compression) is compared, up to the byte string, with one that Python has parsed. Anything that differs is left to
:class:`ptylive.streamer.protocols.dectris_v2.DectrisV2`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.streamer.fast.memory import COMPILED, INNER

NUMBER, START, STOP = 0, 1, 2
"""Positions of the values read: number of the image, start and end of its coded pattern."""
_BYTES, _TEXT, _ARRAY, _MAP, _TAG = 2, 3, 4, 5, 6
_TYPE, _ID, _SERIES, _UNIQUE, _DATA = (
    np.frombuffer(word, np.uint8) for word in (b"type", b"image_id", b"series_id", b"series_unique_id", b"data")
)
_IMAGE = np.frombuffer(b"\x65image", np.uint8)
_NEEDED = 1 | 2 | 4 | 16


@nb.jit(**INNER)
def _head(data, at):
    """The head of a CBOR item at ``at``: (major type, argument, next); next -1 for an item without definite length."""
    if at >= data.size:
        return nb.int64(0), nb.int64(0), nb.int64(-1)
    major, short = nb.int64(data[at] >> 5), nb.int64(data[at] & 31)
    at += 1
    if short < 24:
        return major, short, nb.int64(at)
    if short > 27:
        return major, nb.int64(0), nb.int64(-1)
    width = 1 << (short - 24)
    if at + width > data.size:
        return major, nb.int64(0), nb.int64(-1)
    value = nb.int64(0)
    for k in range(width):
        value = (value << 8) | nb.int64(data[at + k])
    return major, value, nb.int64(at + width)


@nb.jit(**INNER)
def _after(data, at):
    """The position behind the item at ``at``, whatever it holds; -1 where it is truncated or of indefinite length."""
    items = nb.int64(1)
    while items > 0:
        major, value, at = _head(data, at)
        if at < 0:
            return nb.int64(-1)
        items -= 1
        if major in (_BYTES, _TEXT):
            if value < 0 or value > data.size - at:
                return nb.int64(-1)
            at += value
        elif major in (_ARRAY, _MAP):
            if value < 0 or value > data.size - at:
                return nb.int64(-1)
            items += value if major == _ARRAY else 2 * value
        elif major == _TAG:
            items += 1
    return at


@nb.jit(**INNER)
def _equals(data, start, stop, word):
    """Whether ``word`` (bytes,) uint8 lies between two positions."""
    if stop - start != word.size or stop > data.size:
        return False
    for k in range(word.size):
        if data[start + k] != word[k]:
            return False
    return True


@nb.jit(**COMPILED)
def read_image_map(data, series, unique, before, values):
    """Whether ``data`` (bytes,) uint8 is an image of a series, encoded like those before it.

    series, unique: the items of ``series_id`` and ``series_unique_id`` (empty: absent); before: the item of ``data`` up
    to its byte string; all (bytes,) uint8. values int64: NUMBER, START and STOP.
    """
    major, pairs, at = _head(data, 0)
    if at < 0 or major != _MAP:
        return False
    seen = 0
    for _ in range(pairs):
        major, length, start = _head(data, at)
        if start < 0 or major != _TEXT or length < 0 or length > data.size - start:
            return False
        at = start + length
        bit = 0
        if _equals(data, start, at, _DATA):
            if not _equals(data, at, at + before.size, before):
                return False
            major, length, first = _head(data, at + before.size)
            if first < 0 or major != _BYTES or length < 0 or length > data.size - first:
                return False
            bit, after = 16, first + length
            values[START], values[STOP] = first, after
        else:
            after = _after(data, at)
            if after < 0:
                return False
            if _equals(data, start, start + length, _ID):
                major, values[NUMBER], _ = _head(data, at)
                if major != 0 or values[NUMBER] < 0:
                    return False
                bit = 2
            elif _equals(data, start, start + length, _TYPE):
                if not _equals(data, at, after, _IMAGE):
                    return False
                bit = 1
            elif _equals(data, start, start + length, _SERIES):
                if not _equals(data, at, after, series):
                    return False
                bit = 4
            elif _equals(data, start, start + length, _UNIQUE):
                if not _equals(data, at, after, unique):
                    return False
                bit = 8
        at = after
        if seen & bit:
            return False
        seen |= bit
    return at == data.size and seen == (_NEEDED | 8 if unique.size else _NEEDED)
