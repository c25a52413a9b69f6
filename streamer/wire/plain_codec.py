"""LZ4 and bitshuffle/LZ4 in the framing of the HDF5 filters, decoded with Python and numpy only.

Used where the compiled decoder (:mod:`ptylive.streamer.fast.decoder`) is not available, or not yet: about a hundred
times slower, and unable to read or write outside its buffers.
Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
"""

from __future__ import annotations

import struct

import numpy as np

from ptylive.schema.model import ByteArray

FRAMING_BYTES = 12
LEAST_MATCH = 4
_LENGTH = struct.Struct(">I")


def decode_lz4(part: bytes, nbytes: int, block: int) -> bytes:
    """Decode blocks of ``block`` bytes, each LZ4 or stored uncompressed where LZ4 is no shorter. Raises ValueError."""
    if block <= 0 < nbytes:
        raise ValueError("blocks of no bytes")
    out, at = bytearray(), FRAMING_BYTES
    while len(out) < nbytes:
        size = min(block, nbytes - len(out))
        coded, at = _coded(part, at)
        out += coded if len(coded) == size else lz4_block(coded, size)
    return bytes(out)


def decode_bslz4(part: bytes, nbytes: int, itemsize: int, block: int) -> bytes:
    """Decode blocks of ``block`` bytes, bit-shuffled before LZ4; fewer than 8 items at the end are stored plainly.

    Raises ValueError.
    """
    smallest = 8 * itemsize
    if nbytes >= smallest and (block <= 0 or block % smallest):
        raise ValueError(f"blocks of {block} bytes hold no whole number of 8 items")
    out, at = bytearray(), FRAMING_BYTES
    while nbytes - len(out) >= smallest:
        size = min(block, (nbytes - len(out)) // smallest * smallest)
        coded, at = _coded(part, at)
        out += lz4_block(coded, size)
    rest = nbytes - len(out)
    if len(part) - at < rest:
        raise ValueError("the last items are missing")
    whole = len(out) // block * block if out else 0
    bits = np.frombuffer(out, np.uint8)  # a bytearray: its words may be changed in place
    full, last = bits[:whole].reshape(-1, max(block, 1)), bits[whole:].reshape(1, -1)
    return _unsorted(full, itemsize) + _unsorted(last, itemsize) + part[at : at + rest]


def lz4_block(coded: bytes, size: int) -> bytes:
    """Decode one LZ4 block of exactly ``size`` bytes. Raises ValueError."""
    out, at, end = bytearray(), 0, len(coded)
    while at < end:
        token = coded[at]
        count, at = _count(coded, token >> 4, at + 1)
        if count > end - at or len(out) + count > size:
            raise ValueError("literals beyond the end of a block")
        out += coded[at : at + count]
        at += count
        if at == end:
            break
        if end - at < 2:
            raise ValueError("a match without its offset")
        offset = coded[at] | coded[at + 1] << 8
        count, at = _count(coded, token & 15, at + 2)
        _repeat(out, offset, count + LEAST_MATCH, size)
    if len(out) != size:
        raise ValueError(f"a block of {size} bytes decodes to {len(out)}")
    return bytes(out)


def _count(coded: bytes, count: int, at: int) -> tuple[int, int]:
    """Return a length, continued in further bytes where it is 15, and the position after it. Raises ValueError."""
    if count < 15:
        return count, at
    while at < len(coded):
        count += coded[at]
        at += 1
        if coded[at - 1] != 255:
            return count, at
    raise ValueError("a length is cut")


def _repeat(out: bytearray, offset: int, count: int, size: int) -> None:
    """Append ``count`` bytes from ``offset`` bytes back, which may include appended ones. Raises ValueError."""
    if not 0 < offset <= len(out) or len(out) + count > size:
        raise ValueError("a match from outside its block")
    piece = out[-offset:]
    out += piece[:count] if count <= offset else (piece * (count // offset + 1))[:count]


def _coded(part: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes of the next block, and the position of the block after it. Raises ValueError."""
    if len(part) < at + _LENGTH.size:
        raise ValueError("a block is missing")
    (length,) = _LENGTH.unpack_from(part, at)
    at += _LENGTH.size
    if len(part) - at < length:
        raise ValueError("a block is cut")
    return part[at : at + length], at + length


def _unsorted(blocks: ByteArray, itemsize: int) -> bytes:
    """Undo the bit shuffle of blocks (n, bytes): return their items.

    A block holds, for every byte of an item and every bit of that byte, the bits of all items: 8 x 8 bits of 8 items
    make a word, which is transposed.
    """
    count, nbytes = blocks.shape
    if blocks.size == 0:
        return b""
    groups = nbytes // (8 * itemsize)
    words = np.ascontiguousarray(blocks.reshape(count, itemsize, 8, groups).swapaxes(2, 3)).view("<u8")
    for shift, mask in ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0)):
        swapped = (words ^ (words >> np.uint64(shift))) & np.uint64(mask)
        words ^= swapped ^ (swapped << np.uint64(shift))
    return words.view(np.uint8).reshape(count, itemsize, groups * 8).swapaxes(1, 2).tobytes()
