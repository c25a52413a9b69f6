"""Compiled reader of the one header that arrives a hundred thousand times a second: that of a frames message.

It supports only a small msgpack map with the keys of docs/protocol.md, each once. Anything that differs is left to
:func:`ptylive.streamer.wire.decode`, which supports all of msgpack and gives the reason of a refusal.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.streamer.fast.memory import COMPILED, INNER, load64
from ptylive.streamer.wire.limits import MAX_BATCH, MAX_FRAMES

FIRST, COUNT, CODEC, SENDER = 0, 1, 2, 3
"""Positions of the values read."""
CODEC_NONE, CODEC_BSLZ4 = 0, 1

_TYPE, _UID, _SEQ, _FIRST, _COUNT, _CODEC, _SENDER = 1, 2, 4, 8, 16, 32, 64
_NEEDED = _TYPE | _UID | _FIRST | _COUNT


def _word(text: str) -> int:
    """A short word as a number: its bytes, lowest first."""
    return int.from_bytes(text.encode(), "little")


_W_TYPE, _W_UID, _W_SEQ = _word("type"), _word("uid"), _word("seq")
_W_FIRST, _W_COUNT, _W_CODEC, _W_SENDER = _word("first"), _word("count"), _word("codec"), _word("sender")
_W_FRAMES, _W_NONE, _W_BSLZ4 = _word("frames"), _word("none"), _word("bslz4")


@nb.jit(**INNER)
def _text(data, at):
    """A msgpack text at ``at``: (start, length), length -1 for anything else."""
    if at >= data.size:
        return 0, -1
    tag = data[at]
    if tag & 0xE0 == 0xA0:
        start, length = at + 1, nb.int64(tag & 31)
    elif tag == 0xD9 and at + 1 < data.size:
        start, length = at + 2, nb.int64(data[at + 1])
    else:
        return 0, -1
    if start + length > data.size:
        return 0, -1
    return start, length


@nb.jit(**INNER)
def _as_word(data, start, length):
    """A text of at most 6 letters as a number; 0 for a longer one."""
    if length > 6:
        return nb.int64(0)
    if start + 8 <= data.size:  # one load instead of a loop: this runs thirteen times a message
        word = load64(nb.uintp(data.ctypes.data) + nb.uintp(start))
        return nb.int64(word & ((nb.uint64(1) << nb.uint64(8 * length)) - nb.uint64(1)))
    value = nb.int64(0)
    for k in range(length):
        value |= nb.int64(data[start + k]) << (8 * k)
    return value


@nb.jit(**INNER)
def _same(data, start, text):
    """Whether ``text`` (bytes,) stands at ``start``, where there is room for it. Without early exit it vectorises."""
    candidate = data[start : start + text.size]
    difference = nb.uint8(0)
    for k in range(text.size):
        difference |= candidate[k] ^ text[k]
    return difference == 0


@nb.jit(**INNER)
def _number(data, at):
    """A non-negative msgpack integer: (value, next), value -1 for anything else."""
    if at >= data.size:
        return nb.int64(-1), at
    tag = data[at]
    if tag < 128:
        return nb.int64(tag), at + 1
    if tag < 0xCC or tag > 0xCF:
        return nb.int64(-1), at
    width = 1 << nb.int64(tag - 0xCC)
    if at + width >= data.size:
        return nb.int64(-1), at
    value = nb.int64(0)
    for k in range(width):
        value = (value << 8) | nb.int64(data[at + 1 + k])
    return value, at + 1 + width


@nb.jit(**COMPILED)
def read_frames_header(data, uid, values):
    """Whether ``data`` (bytes,) uint8 is the plain header of a frames message of the scan ``uid`` (bytes,) uint8.

    values int64: receives its FIRST, COUNT, CODEC and SENDER.
    """
    if data.size < 2 or data[0] & 0xF0 != 0x80:
        return False
    at, seen = 1, 0
    values[CODEC], values[SENDER] = CODEC_NONE, 0
    for _ in range(data[0] & 15):
        start, length = _text(data, at)
        if length < 0:
            return False
        key = _as_word(data, start, length)
        at = start + length
        if key in (_W_SEQ, _W_FIRST, _W_COUNT, _W_SENDER):
            number, at = _number(data, at)
            if number < 0:
                return False
            bit = _SEQ
            if key == _W_FIRST:
                bit, values[FIRST] = _FIRST, number
            elif key == _W_COUNT:
                bit, values[COUNT] = _COUNT, number
            elif key == _W_SENDER:
                bit, values[SENDER] = _SENDER, number
        else:
            start, length = _text(data, at)
            if length < 0:
                return False
            at = start + length
            if key == _W_UID:
                if length != uid.size or not _same(data, start, uid):
                    return False
                bit = _UID
            elif key == _W_TYPE:
                if _as_word(data, start, length) != _W_FRAMES:
                    return False
                bit = _TYPE
            elif key == _W_CODEC:
                word = _as_word(data, start, length)
                if word == _W_BSLZ4:
                    values[CODEC] = CODEC_BSLZ4
                elif word != _W_NONE:
                    return False
                bit = _CODEC
            else:
                return False
        if seen & bit:
            return False
        seen |= bit
    if at != data.size or seen & _NEEDED != _NEEDED:
        return False
    return 0 < values[COUNT] <= MAX_BATCH and values[FIRST] < MAX_FRAMES


def new_values() -> np.ndarray:
    """Return an array for the values of :func:`read_frames_header`."""
    return np.zeros(4, np.int64)
