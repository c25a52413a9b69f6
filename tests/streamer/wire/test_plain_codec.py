"""The decoder in Python: blocks of LZ4 by hand, from its description."""

import struct

import numpy as np
import pytest

from ptylive.streamer.wire.plain_codec import FRAMING_BYTES, decode_bslz4, decode_lz4, lz4_block


@pytest.mark.parametrize(
    ("coded", "decoded"),
    [
        (b"\x30abc", b"abc"),
        (b"\x31abc\x03\x00", b"abcabcab"),  # a match of 4 + 1 bytes from 3 bytes back: it repeats itself
        (b"\x10a\x01\x00", b"a" * 5),
        (b"\x1fa\x01\x00\x05", b"a" * (1 + 4 + 15 + 5)),
        (b"\x1fa\x01\x00\xff\x00", b"a" * (1 + 4 + 15 + 255)),
        (b"\xf0\x01" + b"x" * 16, b"x" * 16),
        (b"\x20ab\x02\x00\x10c", b"abababc"),
    ],
)
def test_blocks_by_hand(coded, decoded):
    assert lz4_block(coded, len(decoded)) == decoded


@pytest.mark.parametrize(
    ("coded", "size", "why"),
    [
        (b"\x40abc", 4, "literals beyond"),
        (b"\x30abc", 2, "literals beyond"),
        (b"\x30abc", 4, "decodes to 3"),
        (b"\x10a\x01", 5, "without its offset"),
        (b"\x10a\x02\x00", 5, "from outside"),
        (b"\x10a\x00\x00", 5, "from outside"),
        (b"\x10a\x01\x00", 4, "from outside"),
        (b"\x1fa\x01\x00\xff", 300, "a length is cut"),
        (b"\xf0", 15, "a length is cut"),
        (b"", 1, "decodes to 0"),
    ],
)
def test_invalid_blocks_are_refused(coded, size, why):
    with pytest.raises(ValueError, match=why):
        lz4_block(coded, size)


def framed(*blocks: bytes, rest: bytes = b"") -> bytes:
    return bytes(FRAMING_BYTES) + b"".join(struct.pack(">I", len(block)) + block for block in blocks) + rest


def test_blocks_that_lz4_does_not_shorten_are_stored_plainly():
    part = framed(b"abcd", b"\x10e")
    assert decode_lz4(part, 5, 4) == b"abcde"
    with pytest.raises(ValueError, match="a block is missing"):
        decode_lz4(framed(b"abcd"), 5, 4)
    with pytest.raises(ValueError, match="a block is cut"):
        decode_lz4(part[:-1], 5, 4)
    with pytest.raises(ValueError, match="blocks of no bytes"):
        decode_lz4(part, 5, 0)


def shuffled(items: np.ndarray) -> bytes:
    """Bits of a block, sorted: for every byte of an item and every bit of it, the bits of all items."""
    bits = np.unpackbits(items.view(np.uint8).reshape(len(items), -1, 1), axis=2, bitorder="little")
    return np.packbits(bits.transpose(1, 2, 0), axis=2, bitorder="little").tobytes()


def literal(block: bytes) -> bytes:
    """A block without matches."""
    count = len(block)
    assert 15 <= count < 270
    return bytes([0xF0, count - 15]) + block


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<u4", "<u8"])
@pytest.mark.parametrize("extra", [0, 3])
def test_bits_are_sorted_back(dtype, extra):
    """In a full block, a shorter one, and a few items that are stored as they are."""
    size = np.dtype(dtype).itemsize
    items = np.random.default_rng(0).integers(0, 2**8 - 1, (24 + extra) * size, dtype=np.uint8).view(dtype)
    part = framed(
        literal(shuffled(items[:16])),
        literal(shuffled(items[16:24])) if size > 1 else b"\x80" + shuffled(items[16:24]),
        rest=items[24:].tobytes(),
    )
    assert decode_bslz4(part, items.nbytes, size, 16 * size) == items.tobytes()
    if extra:
        with pytest.raises(ValueError, match="the last items are missing"):
            decode_bslz4(part[:-1], items.nbytes, size, 16 * size)


def test_blocks_hold_eight_items_at_least():
    with pytest.raises(ValueError, match="no whole number of 8 items"):
        decode_bslz4(framed(b""), 64, 2, 24)
