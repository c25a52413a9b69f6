"""Compiled decoder of bitshuffle/LZ4 patterns (HDF5 filter 32008), as fast as C on small patterns and without the GIL.

Written so that LLVM vectorises it: contiguous rows in the bit transposition, upper byte planes skipped where they are
zero. Everything read or written is checked against the ends of its buffer; the tests compare it with HDF5's own filter,
and :mod:`ptylive.streamer.wire.plain_codec`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.streamer.fast.c_functions import c_function
from ptylive.streamer.fast.lz4 import SLACK_BYTES, lz4_block, lz4_size
from ptylive.streamer.fast.memory import COMPILED, INNER, bytes_at, store8

DECODED, TRUNCATED, WRONG_SIZE, CORRUPT = 0, 1, 2, 3
"""Outcome for a pattern; the names of the refusals are those of docs/protocol.md."""
TOO_WIDE = -1
"""A pixel's count exceeds a byte, where bytes were requested."""
MAX_BLOCK_BYTES = 2**20
"""Largest bitshuffle block that is decoded; the filters write blocks of 8192."""
FRAMING_BYTES = 12
_U = nb.uintp


@nb.jit(**INNER)
def _transpose(p0, p1, p2, p3, p4, p5, p6, p7, words):
    """Eight bit planes of one byte (uint8 rows of equal length) to eight values in each word (8 x 8 bit transposes)."""
    for j in range(words.size):
        x = (
            nb.uint64(p0[j])
            | (nb.uint64(p1[j]) << nb.uint64(8))
            | (nb.uint64(p2[j]) << nb.uint64(16))
            | (nb.uint64(p3[j]) << nb.uint64(24))
            | (nb.uint64(p4[j]) << nb.uint64(32))
            | (nb.uint64(p5[j]) << nb.uint64(40))
            | (nb.uint64(p6[j]) << nb.uint64(48))
            | (nb.uint64(p7[j]) << nb.uint64(56))
        )
        y = (x ^ (x >> nb.uint64(7))) & nb.uint64(0x00AA00AA00AA00AA)
        x = x ^ y ^ (y << nb.uint64(7))
        y = (x ^ (x >> nb.uint64(14))) & nb.uint64(0x0000CCCC0000CCCC)
        x = x ^ y ^ (y << nb.uint64(14))
        y = (x ^ (x >> nb.uint64(28))) & nb.uint64(0x00000000F0F0F0F0)
        words[j] = x ^ y ^ (y << nb.uint64(28))


@nb.jit(**INNER)
def _transpose_low(p0, p1, p2, p3, words):
    """Like :func:`_transpose`, where the four upper planes are zero."""
    for j in range(words.size):
        x = (
            nb.uint64(p0[j])
            | (nb.uint64(p1[j]) << nb.uint64(8))
            | (nb.uint64(p2[j]) << nb.uint64(16))
            | (nb.uint64(p3[j]) << nb.uint64(24))
        )
        y = (x ^ (x >> nb.uint64(7))) & nb.uint64(0x00AA00AA00AA00AA)
        x = x ^ y ^ (y << nb.uint64(7))
        y = (x ^ (x >> nb.uint64(14))) & nb.uint64(0x0000CCCC0000CCCC)
        x = x ^ y ^ (y << nb.uint64(14))
        y = (x ^ (x >> nb.uint64(28))) & nb.uint64(0x00000000F0F0F0F0)
        words[j] = x ^ y ^ (y << nb.uint64(28))


@nb.jit(**INNER)
def _any_nonzero(data):
    """Whether a byte of ``data`` (n,) uint8 is not zero; n a multiple of 4."""
    words = data.view(np.uint32)
    found = nb.uint32(0)
    for k in range(words.size):  # a loop over the array itself is not vectorised
        found |= words[k]
    return found != nb.uint32(0)


@nb.jit(**INNER)
def _byte_plane(block, byte, groups, words):
    """Extract byte ``byte`` of all elements of a shuffled block into ``words``; False when it is zero everywhere."""
    plane = block[8 * byte * groups : 8 * (byte + 1) * groups]
    p = plane.reshape(8, groups)
    if _any_nonzero(plane[4 * groups :]):
        _transpose(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], words[:groups])
        return True
    if _any_nonzero(plane[: 4 * groups]):
        _transpose_low(p[0], p[1], p[2], p[3], words[:groups])
        return True
    return False


@nb.jit(**INNER)
def _unshuffle(block, itemsize, target, words):
    """Undo the bit shuffling of a block: itemsize 1, 2 or 4, target (bytes,) uint8, a multiple of 8 elements."""
    groups = target.size // itemsize // 8
    values = words.view(np.uint8)
    if not _byte_plane(block, 0, groups, words):
        target[:] = 0
    elif itemsize == 1:
        for k in range(target.size):
            target[k] = values[k]
    elif itemsize == 2:
        short = target.view(np.uint16)
        for k in range(short.size):
            short[k] = values[k]
    else:
        long = target.view(np.uint32)
        for k in range(long.size):
            long[k] = values[k]
    if itemsize == 2:
        short = target.view(np.uint16)
        if _byte_plane(block, 1, groups, words):
            for k in range(short.size):
                short[k] |= nb.uint16(values[k]) << nb.uint16(8)
    elif itemsize == 4:
        long = target.view(np.uint32)
        for byte in range(1, 4):
            if _byte_plane(block, byte, groups, words):
                for k in range(long.size):
                    long[k] |= nb.uint32(values[k]) << nb.uint32(8 * byte)


@nb.jit(**INNER)
def _unshuffle_bytes(block, itemsize, target, words):
    """Like :func:`_unshuffle`, to one byte per element, target (elements,) uint8; False where a value does not fit."""
    groups = target.size // 8
    if itemsize > 1 and _any_nonzero(block[8 * groups :]):
        return False
    values = words.view(np.uint8)
    if not _byte_plane(block, 0, groups, words):
        target[:] = 0
    else:
        for k in range(target.size):
            target[k] = values[k]
    return True


@nb.jit(**COMPILED)
def _big_endian(data, start):
    """The unsigned 32-bit number at ``start``."""
    value = nb.int64(0)
    for k in range(4):
        value = (value << 8) | nb.int64(data[start + k])
    return value


@nb.jit(**INNER)
def _framing(part, itemsize, nbytes):
    """Bytes in a block of a part that should decode to ``nbytes``, and DECODED or the reason why it will not."""
    if part.size < FRAMING_BYTES:
        return nb.int64(0), TRUNCATED
    announced = (_big_endian(part, 0) << 32) | _big_endian(part, 4)
    if announced != nbytes:
        return nb.int64(0), WRONG_SIZE
    step = _big_endian(part, 8)
    if step <= 0 or step > MAX_BLOCK_BYTES or step % (8 * itemsize):
        return nb.int64(0), CORRUPT
    return step, DECODED


@nb.jit(**COMPILED)
def check_bslz4(part, itemsize, nbytes):
    """Outcome of :func:`decode_bslz4` for a part (bytes,) uint8 and a pattern of ``nbytes``; much faster."""
    step, outcome = _framing(part, itemsize, nbytes)
    if outcome != DECODED:
        return outcome
    start = nb.int64(part.ctypes.data)
    at, done = FRAMING_BYTES, 0
    smallest = 8 * itemsize
    while nbytes - done >= smallest:
        size = min(step, (nbytes - done) // smallest * smallest)
        if at + 4 > part.size:
            return CORRUPT
        coded = _big_endian(part, at)
        at += 4
        if coded > part.size - at or lz4_size(_U(start + at), _U(start + at + coded), _U(size)) != size:
            return CORRUPT
        at += coded
        done += size
    return DECODED if at + nbytes - done <= part.size else CORRUPT


@nb.jit(**COMPILED)
def decode_bslz4(part, itemsize, target, block, words):
    """Decode one pattern in the framing of the HDF5 filter into ``target`` (bytes,) uint8; DECODED or the reason why
    not.

    part (bytes,) uint8; itemsize 1, 2 or 4; block uint8 and words uint64 are work space of MAX_BLOCK_BYTES (+
    SLACK_BYTES) and MAX_BLOCK_BYTES / 8. On failure the contents of ``target`` are undefined.
    """
    return _decode(part, itemsize, itemsize, target, block, words)


@nb.jit(**COMPILED)
def _decode(part, itemsize, width, target, block, words):
    """Like :func:`decode_bslz4`; each element becomes ``width`` bytes, its own size or one (TOO_WIDE if too small)."""
    nbytes = target.size // width * itemsize
    step, outcome = _framing(part, itemsize, nbytes)
    if outcome != DECODED:
        return outcome
    start = nb.int64(part.ctypes.data)
    buffer = _U(block.ctypes.data)
    at, done = FRAMING_BYTES, 0
    smallest = 8 * itemsize
    while nbytes - done >= smallest:
        size = min(step, (nbytes - done) // smallest * smallest)
        if at + 4 > part.size:
            return CORRUPT
        coded = _big_endian(part, at)
        at += 4
        if coded > part.size - at:
            return CORRUPT
        if lz4_block(_U(start + at), _U(start + at + coded), buffer, _U(buffer + _U(size))) != size:
            return CORRUPT
        at += coded
        if width == itemsize:
            _unshuffle(block[:size], itemsize, target[done : done + size], words)
        elif not _unshuffle_bytes(block[:size], itemsize, target[done // itemsize : (done + size) // itemsize], words):
            return TOO_WIDE
        done += size
    rest = nbytes - done  # fewer than 8 elements are stored uncompressed
    if at + rest > part.size:
        return CORRUPT
    if width == itemsize:
        for k in range(rest):
            target[done + k] = part[at + k]
        return DECODED
    for k in range(rest):
        if k % itemsize == 0:
            target[(done + k) // itemsize] = part[at + k]
        elif part[at + k] != 0:
            return TOO_WIDE
    return DECODED


WORK_BYTES = 2 * MAX_BLOCK_BYTES + SLACK_BYTES
"""Bytes of work space of :func:`decode_at`."""
DECODER = nb.types.int64(nb.uintp, nb.int64, nb.int64, nb.uintp, nb.int64, nb.uintp, nb.uintp)
"""Signature of the function that decodes one pattern for :class:`ptylive.schema.CodedFrames`."""


@c_function(DECODER)
def decode_at(data, size, itemsize, target, target_bytes, work, _told):
    """:func:`decode_bslz4` as a C function of addresses: see :class:`ptylive.schema.CodedFrames`."""
    words = bytes_at(work, MAX_BLOCK_BYTES).view(np.uint64)
    block = bytes_at(_U(work + _U(MAX_BLOCK_BYTES)), MAX_BLOCK_BYTES + SLACK_BYTES)
    return nb.int64(decode_bslz4(bytes_at(data, size), itemsize, bytes_at(target, target_bytes), block, words))


@c_function(DECODER)
def decode_bytes_at(data, size, itemsize, target, target_bytes, work, _told):
    """Like :func:`decode_at`, to one byte per pixel."""
    words = bytes_at(work, MAX_BLOCK_BYTES).view(np.uint64)
    block = bytes_at(_U(work + _U(MAX_BLOCK_BYTES)), MAX_BLOCK_BYTES + SLACK_BYTES)
    return nb.int64(_decode(bytes_at(data, size), itemsize, 1, bytes_at(target, target_bytes), block, words))


@c_function(nb.types.int64(nb.uintp, nb.int64, nb.int64, nb.uintp, nb.int64))
def decode_lz4_at(data, size, step, target, nbytes):
    """LZ4 blocks of ``step`` bytes in the framing of the HDF5 filter; writes up to SLACK_BYTES behind the target."""
    part, at, done = bytes_at(data, size), FRAMING_BYTES, 0
    while done < nbytes:
        wanted = min(step, nbytes - done)
        if at + 4 > size:
            return CORRUPT
        coded = _big_endian(part, at)
        at += 4
        if coded > size - at:
            return CORRUPT
        source, place = _U(data + _U(at)), _U(target + _U(done))
        if coded == wanted:
            for k in range(wanted):
                store8(_U(place + _U(k)), part[at + k])
        elif lz4_block(source, _U(source + _U(coded)), place, _U(place + _U(wanted))) != wanted:
            return CORRUPT
        at += coded
        done += wanted
    return DECODED


@nb.jit(**COMPILED)
def decode_all(data, ends, first, itemsize, frames, block, words):
    """Decode patterns from ``first`` on, back to back in ``data``, into frames (n, bytes) uint8; number of failures."""
    failed = 0
    for n in range(frames.shape[0]):
        begin = ends[first + n - 1] if first + n > 0 else 0
        if decode_bslz4(data[begin : ends[first + n]], itemsize, frames[n], block, words) != DECODED:
            failed += 1
    return failed


def work_space() -> tuple[np.ndarray, np.ndarray]:
    """Return new ``block`` and ``words`` for :func:`decode_bslz4`."""
    return np.empty(MAX_BLOCK_BYTES + SLACK_BYTES, np.uint8), np.empty(MAX_BLOCK_BYTES // 8, np.uint64)
