"""Arrays of a chunk: read, cut, sorted, and the content of a damaged header restored."""

import itertools
import struct

import numpy as np
import pytest
from event_tools import csr, sparse_frames
from tpx3_tools import chunk

from ptylive.schema.model import Array
from ptylive.streamer.protocols.tpx3.chunks import PIECE_BYTES, Csr, cut, in_order, pack_chunk, read_csr, repaired
from ptylive.streamer.protocols.tpx3.headers import AcquisitionStart, Chunk, parse_header

SHAPE = (8, 16)
FRAMES = sparse_frames(6, SHAPE, 6)
SIZES = [(4, 4, 2), (2, 2, 1), (8, 8, 8), (4, 1, 4)]


def acquisition(indptr: int = 4, index: int = 4, frames: int = 6) -> AcquisitionStart:
    return AcquisitionStart((1, frames), SHAPE, indptr, index, 1)


def dense(frames: Csr, shape: tuple[int, int] = SHAPE) -> Array:
    out = np.zeros((len(frames.ends), shape[0] * shape[1]), frames.values.dtype)
    number = np.repeat(np.arange(len(frames.ends)), np.diff(frames.ends, prepend=0))
    np.add.at(out, (number, frames.indices.astype(int)), frames.values)
    return out.reshape(-1, *shape)


def read(data: bytes, start: AcquisitionStart) -> Csr:
    header = parse_header(data)
    assert isinstance(header, Chunk)
    frames = read_csr(header, start, data[32:])
    assert frames is not None
    return frames


@pytest.mark.parametrize(("indptr", "index", "value"), SIZES)
@pytest.mark.parametrize("align", [1, 16])
def test_frames_of_a_chunk(indptr: int, index: int, value: int, align: int) -> None:
    start = acquisition(indptr, index)
    data = chunk(FRAMES, indptr=indptr, index=index, value=value, align=align)
    frames = read(data, start)
    assert np.array_equal(dense(frames), FRAMES)
    assert np.array_equal(dense(frames.run(1, 4)), FRAMES[1:4])
    if align == 1:
        assert pack_chunk(frames, start) == data


@pytest.mark.parametrize(("at", "value"), [(0, 1), (4, 2**31), (24, 0), (24, np.count_nonzero(FRAMES) + 1)])
def test_an_array_that_does_not_count_the_events(at: int, value: int) -> None:
    data = bytearray(chunk(FRAMES))
    struct.pack_into("<I", data, 32 + at, value)
    header = parse_header(data)
    assert isinstance(header, Chunk)
    assert read_csr(header, acquisition(), data[32:]) is None


def test_a_large_chunk_is_cut_at_frames() -> None:
    frames = sparse_frames(5000, SHAPE, 60)
    start = acquisition(frames=5000)
    pieces = [read(piece, start) for piece in cut(read(chunk(frames), start), start)]
    assert len(pieces) > 1
    assert np.array_equal(np.concatenate([dense(piece) for piece in pieces]), frames)
    sizes = [len(piece) for piece in cut(read(chunk(frames), start), start)]
    assert max(sizes) <= PIECE_BYTES + 100
    heavy = Csr(np.array([2**19]), np.zeros(2**19, "<u4"), np.ones(2**19, "<u2"))
    assert len(list(cut(heavy, acquisition(frames=1)))) == 1


def test_pixels_in_order() -> None:
    lengths, pixels, counts = csr(FRAMES)
    ends = np.cumsum(lengths)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(np.arange(end - n, end)) for n, end in zip(lengths, ends, strict=True)])
    twice = np.repeat(order, 2)  # each pixel listed twice
    found = in_order(Csr(2 * ends, pixels[twice], counts[twice].astype("<u2")))
    assert np.array_equal(dense(found), 2 * FRAMES)
    assert np.array_equal(found.ends, ends)
    assert np.array_equal(found.indices, pixels)
    assert found.indices.dtype == np.uint32
    kept = in_order(Csr(ends, pixels.astype("<u8"), counts))
    assert np.array_equal(kept.indices, pixels) and kept.values is counts


def test_a_pixel_far_beyond_the_detector_stays_beyond() -> None:
    far = Csr(np.array([2]), np.array([2**63 + 5, 2**40], "<u8"), np.ones(2, "<u2"))
    assert in_order(far).indices.tolist() == [2**32 - 1]


@pytest.mark.parametrize(("indptr", "index", "value"), SIZES)
def test_a_header_follows_from_the_rest(indptr: int, index: int, value: int) -> None:
    """Whichever bit of it is flipped, the restored header is never another than the original."""
    start = acquisition(indptr, index)
    data = chunk(FRAMES, indptr=indptr, index=index, value=value)
    for byte, bit in itertools.product(range(32), range(8)):
        damaged = bytearray(data)
        damaged[byte] ^= 1 << bit
        assert repaired(damaged, start) == parse_header(data), (byte, bit)


def test_a_header_that_says_nothing_is_not_made_up() -> None:
    data = chunk(FRAMES)
    assert repaired(b"\xff" * 32 + data[32:], acquisition()) is None
    assert repaired(data[:-1], acquisition()) is None
    assert repaired(data[:34] + b"\x01" + data[35:], acquisition()) is None


def test_chunks_of_empty_frames_are_read_and_repaired() -> None:
    empty = np.zeros((3, *SHAPE), "<u2")
    start = acquisition(frames=3)
    assert np.array_equal(dense(in_order(read(chunk(empty), start))), empty)
    damaged = bytearray(chunk(empty))
    damaged[14] ^= 1
    assert repaired(damaged, start) is not None
