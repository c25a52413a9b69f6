"""Compiled decoder of LZ4 blocks, as fast as C on small ones and without the GIL: 8-byte copies at addresses.

Everything read or written is checked against the ends of its buffer.
"""

from __future__ import annotations

import numba as nb

from ptylive.streamer.fast.memory import COMPILED, INNER, copy32, fill32, load8, load16, load64, store8, store64

SLACK_BYTES = 64
"""The decoder may write this far behind the end of a block."""
_U = nb.uintp


@nb.jit(**INNER)
def _length(base, source, source_end):
    """An LZ4 length that continues in further bytes: (length, next address), address 0 where the input ends."""
    length = _U(base)
    while True:
        if source >= source_end:
            return length, _U(0)
        byte = load8(source)
        source = _U(source + _U(1))
        length = _U(length + _U(byte))
        if byte != 255:
            return length, source


@nb.jit(**INNER)
def _copy_words(source, target, target_end):
    """Copy in steps of 8 bytes, up to 7 bytes too far."""
    while target < target_end:
        store64(target, load64(source))
        target = _U(target + _U(8))
        source = _U(source + _U(8))


@nb.jit(**INNER)
def _copy_blocks(source, target, target_end):
    """Copy in steps of 32 bytes, up to 31 bytes too far."""
    while target < target_end:
        copy32(target, source)
        target = _U(target + _U(32))
        source = _U(source + _U(32))


@nb.jit(**INNER)
def _repeat(offset, target, target_end):
    """Copy from ``offset`` bytes before the target; the source grows while it is copied."""
    source = _U(target - offset)
    if offset >= _U(32):
        _copy_blocks(source, target, target_end)
        return
    if offset >= _U(8):
        _copy_words(source, target, target_end)
        return
    if offset == _U(1) or offset == _U(2) or offset == _U(4):
        if offset == _U(1):
            word = nb.uint64(load8(source)) * nb.uint64(0x0101010101010101)
        elif offset == _U(2):
            word = nb.uint64(load16(source)) * nb.uint64(0x0001000100010001)
        else:
            pair = nb.uint64(load16(source)) | (nb.uint64(load16(_U(source + _U(2)))) << nb.uint64(16))
            word = pair * nb.uint64(0x0000000100000001)
        while target < target_end:
            fill32(target, word)
            target = _U(target + _U(32))
        return
    while target < target_end:
        store8(target, load8(source))
        target = _U(target + _U(1))
        source = _U(source + _U(1))


@nb.jit(**COMPILED)
def lz4_block(source, source_end, target, target_end):
    """Decode one LZ4 block from [source, source_end) to [target, target_end): bytes written, or -1 when it is invalid.

    Addresses. SLACK_BYTES behind target_end must be writable.
    """
    start = target
    while source < source_end:
        token = load8(source)
        source = _U(source + _U(1))
        count = _U(token >> 4)
        if count == _U(15):
            count, source = _length(15, source, source_end)
            if source == _U(0):
                return -1
        if count > _U(0):
            if _U(source_end - source) < count or _U(target_end - target) < count:
                return -1
            after = _U(target + count)
            if _U(source_end - source) >= _U(count + _U(32)):
                _copy_blocks(source, target, after)
            elif _U(source_end - source) >= _U(count + _U(8)):
                _copy_words(source, target, after)
            else:
                for k in range(count):
                    store8(_U(target + _U(k)), load8(_U(source + _U(k))))
            source = _U(source + count)
            target = after
        if source >= source_end:
            break
        if _U(source_end - source) < _U(2):
            return -1
        offset = _U(load16(source))
        source = _U(source + _U(2))
        count = _U(token & 15)
        if count == _U(15):
            count, source = _length(15, source, source_end)
            if source == _U(0):
                return -1
        count = _U(count + _U(4))
        if offset == _U(0) or _U(target - start) < offset or _U(target_end - target) < count:
            return -1
        _repeat(offset, target, _U(target + count))
        target = _U(target + count)
    return nb.int64(target - start)


@nb.jit(**INNER)
def lz4_size(source, source_end, most):
    """Bytes that :func:`lz4_block` makes of the block [source, source_end), or -1 when it refuses the block.

    ``most``: bytes of available room. The decoded size of a block depends only on its lengths and offsets: nothing is
    copied.
    """
    done = _U(0)
    while source < source_end:
        token = load8(source)
        source = _U(source + _U(1))
        count = _U(token >> 4)
        if count == _U(15):
            count, source = _length(15, source, source_end)
            if source == _U(0):
                return -1
        if _U(source_end - source) < count or _U(most - done) < count:
            return -1
        source = _U(source + count)
        done = _U(done + count)
        if source >= source_end:
            break
        if _U(source_end - source) < _U(2):
            return -1
        offset = _U(load16(source))
        source = _U(source + _U(2))
        count = _U(token & 15)
        if count == _U(15):
            count, source = _length(15, source, source_end)
            if source == _U(0):
                return -1
        count = _U(count + _U(4))
        if offset == _U(0) or done < offset or _U(most - done) < count:
            return -1
        done = _U(done + count)
    return nb.int64(done)
