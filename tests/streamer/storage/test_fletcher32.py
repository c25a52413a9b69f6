"""Checksums as HDF5's own filter makes them."""

import h5py
import numpy as np
import pytest

from ptylive.streamer.storage.fletcher32 import _PIECE, with_checksum, with_checksums, without_checksum

SIZES = [1, 2, 3, 8, 719, 720, 721, 4096, 100_001, 2 * _PIECE, 4 * _PIECE + 3]


def contents(size: int) -> list[bytes]:
    """Anything, only zeros (the only sum that is 0), only ones (a sum that is 0 modulo 65535)."""
    random = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    return [random.tobytes(), bytes(size), b"\xff" * size]


@pytest.mark.parametrize("size", SIZES)
def test_they_are_those_of_hdf5(size):
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for number, content in enumerate(contents(size)):
            values = np.frombuffer(content, np.uint8)
            data = file.create_dataset(str(number), data=values, chunks=(size,), fletcher32=True)
            chunk = bytes(data.id.read_direct_chunk((0,))[1])
            assert with_checksum(content) == chunk
            assert without_checksum(chunk) == content


@pytest.mark.parametrize("sizes", [[], [0], [5], [1, 2, 3, 8, 719, 720, 721], [7, 0, 8], [2 * _PIECE, 1]])
def test_many_at_once_are_each_by_itself(sizes):
    for chosen in range(3):
        chunks = [contents(size)[chosen] for size in sizes]
        assert with_checksums(chunks) == [with_checksum(chunk) for chunk in chunks]


def test_a_flipped_bit_is_seen_wherever_it_is():
    chunk = with_checksum(contents(40)[0])
    for bit in range(8 * len(chunk)):
        damaged = bytearray(chunk)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="does not match"):
            without_checksum(bytes(damaged))


@pytest.mark.parametrize("chunk", [b"", b"abc", b"abcd"])
def test_what_is_too_short_is_damaged(chunk):
    with pytest.raises(ValueError, match="does not match"):
        without_checksum(chunk)
