"""Headers as they are sent, and bytes that are not headers."""

import struct

import pytest
from event_tools import sparse_frames
from tpx3_tools import acquisition_end, acquisition_start, chunk, scan_end, scan_start

from ptylive.schema import WireError
from ptylive.streamer.protocols.tpx3.headers import (
    MAX_METADATA_BYTES,
    AcquisitionEnd,
    AcquisitionStart,
    Chunk,
    ScanEnd,
    ScanStart,
    Tpx3Header,
    chunk_numbers,
    pack_header,
    parse_header,
)

ACQUISITION = AcquisitionStart((3, 4), (8, 16), indptr_bytes=4, index_bytes=2, sequence=9)
CHUNK = chunk(sparse_frames(6, (8, 16)), index=2, value=1)


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (acquisition_start((3, 4), (8, 16), index=2, sequence=9), ACQUISITION),
        (
            acquisition_start((2, 65535), (1, 1), indptr=8, index=1, values=1),
            AcquisitionStart((2, 65535), (1, 1), 8, 1, 1, time_over_threshold=True),
        ),
        (scan_start(7, b"{}"), ScanStart(7, 2)),
        (scan_end(2**32 - 1), ScanEnd(2**32 - 1)),
        (acquisition_end(5), AcquisitionEnd(5)),
    ],
)
def test_headers_are_read_and_written(data: bytes, header: Tpx3Header) -> None:
    assert parse_header(data) == header
    assert pack_header(header) == data[:32]


def test_the_header_of_a_chunk_is_parsed_and_packed() -> None:
    header = parse_header(CHUNK)
    assert isinstance(header, Chunk)
    assert pack_header(header) == CHUNK[:32]
    assert (header.frames, header.value_bytes, header.nbytes) == (6, 1, len(CHUNK) - 32)
    assert chunk_numbers(CHUNK) == (6, header.events, 28, 28 + 2 * header.events)
    header.check(ACQUISITION)
    assert header.is_close(ACQUISITION)
    padded = parse_header(chunk(sparse_frames(6, (8, 16)), index=2, value=1, align=8))
    assert isinstance(padded, Chunk)
    padded.check(ACQUISITION)
    assert not padded.is_close(ACQUISITION)


def changed(data: bytes, at: int, form: str, value: int) -> bytes:
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :]


START = acquisition_start((3, 4), (8, 16))


@pytest.mark.parametrize(
    ("data", "reason", "text"),
    [
        (bytes([5]) + bytes(31), "bad_header", "kind 5"),
        (changed(START, 2, "<B", 2), "bad_header", "format 2"),
        (changed(START, 7, "<B", 1), "bad_header", "indptr of unknown type 1"),
        (changed(START, 12, "<B", 6), "bad_header", "indices of unknown type 6"),
        (changed(START, 3, "<H", 0), "impossible_value", "scan of 0 x 4"),
        (acquisition_start((65535, 65535), (8, 8)), "impossible_value", "scan of 65535 x 65535"),
        (changed(START, 10, "<H", 0), "impossible_value", "detector of 8 x 0"),
        (changed(START, 8, "<H", 8193), "impossible_value", "detector of 8193"),
        (changed(START, 31, "<B", 1), "bad_header", "reserved"),
        (changed(scan_start(), 13, "<B", 1), "bad_header", "reserved"),
        (changed(scan_start(), 5, "<Q", MAX_METADATA_BYTES + 1), "oversized", "metadata"),
        (changed(scan_end(), 5, "<B", 1), "bad_header", "reserved"),
        (changed(CHUNK, 18, "<B", 1), "bad_header", "reserved"),
        (changed(CHUNK, 1, "<B", 0), "bad_header", "values of unknown type 0"),
    ],
)
def test_what_is_no_header(data: bytes, reason: str, text: str) -> None:
    with pytest.raises(WireError, match=text) as caught:
        parse_header(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (Chunk(1, 0, 0, 4, 4), "bad_chunk"),
        (Chunk(1, 13, 0, 56, 56), "bad_chunk"),
        (Chunk(1, 1, 200, 8, 408), "bad_chunk"),
        (Chunk(1, 6, 10, 24, 48), "bad_chunk"),
        (Chunk(1, 6, 10, 28, 44), "bad_chunk"),
        (Chunk(1, 6, 10, 29, 49), "bad_chunk"),
        (Chunk(1, 6, 10, 156, 176), "bad_chunk"),
    ],
)
def test_lengths_that_contradict_each_other(chunk: Chunk, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        chunk.check(ACQUISITION)
    assert caught.value.reason == reason


def test_a_chunk_is_no_longer_than_its_bound() -> None:
    acquisition = AcquisitionStart((16384, 16384), (512, 512), 4, 4, 1)
    with pytest.raises(WireError) as caught:
        Chunk(4, 1, 2**27, 8, 8 + 2**29).check(AcquisitionStart((1, 1), (8192, 8192 * 2), 4, 4, 1))
    with pytest.raises(WireError) as other:
        Chunk(4, 1000, 2**27, 4004, 4004 + 2**29).check(acquisition)
    assert (caught.value.reason, other.value.reason) == ("oversized", "oversized")
