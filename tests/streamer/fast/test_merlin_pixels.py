"""Compiled decoding of Merlin's runs: bit for bit as for single frames, into another place and in place."""

import numpy as np
import pytest
from merlin_tools import CHIP, counts, frame, raw_frame

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.schema import Detector, FrameBatch, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.streamer.fast.merlin_pixels import CompiledRuns, decode_frame_at
from ptylive.streamer.protocols.merlin.headers import parse_frame_header
from ptylive.streamer.protocols.merlin.pixels import PixelLayout, decode_pixels, pixel_layout

PROCESSED = {"U08": 6, "U16": 12, "U32": 24}
SIDES = {"1x1": CHIP, "2x2": 2 * CHIP, "2x2G": 2 * CHIP + 2}


def rows_of(messages: list[bytes]) -> tuple[PixelLayout, Array, int]:
    """Frames one after the other (n, bytes), unaligned, and the offset of their pixels."""
    header = parse_frame_header(memoryview(messages[0]))
    layout = pixel_layout(header, header.counter_depth)
    stream = np.frombuffer(bytearray(b"xyz" + b"".join(messages)), np.uint8)
    return layout, stream[3:].reshape(len(messages), -1), header.data_offset


def handed_on(layout: PixelLayout, rows: Array, offset: int, wanted: bytes) -> None:
    """Decode as others do, by the address that comes with the batch; a frame of another length is invalid."""
    batch = CompiledRuns.handed_on(layout, np.ascontiguousarray(rows), offset, "u", np.arange(len(rows)))
    if batch is None:
        assert layout.depth == 24
        return
    coded, nbytes = batch.coded, len(wanted) // len(rows)
    assert coded is not None
    assert batch.frames.tobytes() == wanted and batch.frame(1).tobytes() == wanted[nbytes : 2 * nbytes]
    decode = decode_frame_at.ctypes
    for size, room in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        pattern = np.full(nbytes + 1, 0xAA, np.uint8)
        begin, end = int(coded.ends[0]), int(coded.ends[1])
        where = coded.data.ctypes.data + begin, end - begin + size
        outcome = decode(*where, 1, pattern.ctypes.data, nbytes + room, 0, coded.parameters.ctypes.data)
        assert (outcome == 0) == (size == room == 0)
        assert pattern[:-1].tobytes() == (b"\xaa" * nbytes if outcome else wanted[nbytes : 2 * nbytes])
        assert pattern[-1] == 0xAA


def check(messages: list[bytes], *, fits: bool) -> None:
    layout, rows, offset = rows_of(messages)
    wanted = b"".join(decode_pixels(layout, memoryview(message)[offset:]) for message in messages)
    found = np.full(len(wanted), 0xAA, np.uint8)
    if CompiledRuns.decode(layout, rows, offset, found):
        assert found.tobytes() == wanted
    else:
        assert layout.depth == 24
    handed_on(layout, rows, offset, wanted)
    packed = CompiledRuns.pack(layout, rows, offset)
    assert (packed is not None) == fits
    if packed is not None:
        assert packed.tobytes() == wanted
        assert packed.ctypes.data % 8 == 0 and np.shares_memory(packed, rows)


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize("layout", ["1x1", "2x2", "2x2G"])
def test_raw_frames_decode_as_in_python(depth: int, layout: str) -> None:
    stored = counts((SIDES[layout], SIDES[layout]), depth, count=3 if layout == "1x1" else 2)
    if layout == "2x2G":
        stored[:, CHIP : CHIP + 2] = stored[:, :, CHIP : CHIP + 2] = 0
    messages = [raw_frame(k + 1, one, depth, layout) for k, one in enumerate(stored)]
    check(messages, fits=depth in (6, 12) and layout != "2x2G")


@pytest.mark.parametrize("pixels", PROCESSED)
@pytest.mark.parametrize("shape", [(12, 16), (11, 13), (1, 5)])
def test_processed_frames_decode_as_in_python(pixels: str, shape: tuple[int, int]) -> None:
    stored = counts(shape, PROCESSED[pixels], count=7)
    check([frame(k + 1, pixels, one, depth=PROCESSED[pixels]) for k, one in enumerate(stored)], fits=True)


def test_what_is_decoded_while_it_is_reduced_becomes_the_same_numbers() -> None:
    """Through compiled code of the engine, which does not know Merlin's format."""
    layout, rows, offset = rows_of([frame(k + 1, "U16", one) for k, one in enumerate(counts((20, 22), 12, count=64))])
    batch = CompiledRuns.handed_on(layout, np.ascontiguousarray(rows), offset, "u", np.arange(64))
    assert batch is not None
    header = ScanHeader("u", "u", 64, Scan(shape=(8, 8)), detector=Detector(shape=(20, 22)))
    grid = DetectorGrid.of((20, 22), (9.3, 10.2), "none", 1.0)
    reduction = PixelReduction.of(grid, 6.0, np.zeros((20, 22), bool), 30)
    plain, pool = Store(header, reduction), ThreadPool(2)
    store = Store(header, reduction, pool)
    plain.add(FrameBatch("u", np.arange(64), batch.frames))
    store.add(batch)
    pool.close()
    for name in ("bins", "regions", "moments", "frames", "frame_sum"):
        assert np.array_equal(getattr(store, name), getattr(plain, name)), name
