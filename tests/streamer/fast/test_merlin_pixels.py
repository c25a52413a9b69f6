"""Compiled decoding of Merlin's runs: bit for bit what is done to single frames, elsewhere and in place."""

import numpy as np
import pytest
from merlin_tools import CHIP, counts, frame, raw_frame

from ptylive.schema.model import Array
from ptylive.streamer.fast.merlin_pixels import CompiledRuns
from ptylive.streamer.protocols.merlin.headers import parse_frame_header
from ptylive.streamer.protocols.merlin.pixels import PixelLayout, decode_pixels, pixel_layout

PROCESSED = {"U08": 6, "U16": 12, "U32": 24}
SIDES = {"1x1": CHIP, "2x2": 2 * CHIP, "2x2G": 2 * CHIP + 2}


def rows_of(messages: list[bytes]) -> tuple[PixelLayout, Array, int]:
    """Frames one after the other (n, bytes), not aligned, and where their pixels begin."""
    header = parse_frame_header(memoryview(messages[0]))
    layout = pixel_layout(header, header.counter_depth)
    stream = np.frombuffer(bytearray(b"xyz" + b"".join(messages)), np.uint8)
    return layout, stream[3:].reshape(len(messages), -1), header.data_offset


def check(messages: list[bytes], *, fits: bool) -> None:
    layout, rows, offset = rows_of(messages)
    wanted = b"".join(decode_pixels(layout, memoryview(message)[offset:]) for message in messages)
    found = np.full(len(wanted), 0xAA, np.uint8)
    if CompiledRuns.decode(layout, rows, offset, found):
        assert found.tobytes() == wanted
    else:
        assert layout.depth == 24
    packed = CompiledRuns.pack(layout, rows, offset)
    assert (packed is not None) == fits
    if packed is not None:
        assert packed.tobytes() == wanted
        assert packed.ctypes.data % 8 == 0 and np.shares_memory(packed, rows)


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize("layout", ["1x1", "2x2", "2x2G"])
def test_raw_frames(depth: int, layout: str) -> None:
    stored = counts((SIDES[layout], SIDES[layout]), depth, count=3 if layout == "1x1" else 2)
    if layout == "2x2G":
        stored[:, CHIP : CHIP + 2] = stored[:, :, CHIP : CHIP + 2] = 0
    messages = [raw_frame(k + 1, one, depth, layout) for k, one in enumerate(stored)]
    check(messages, fits=depth in (6, 12) and layout != "2x2G")


@pytest.mark.parametrize("pixels", PROCESSED)
@pytest.mark.parametrize("shape", [(12, 16), (11, 13), (1, 5)])
def test_processed_frames(pixels: str, shape: tuple[int, int]) -> None:
    stored = counts(shape, PROCESSED[pixels], count=7)
    check([frame(k + 1, pixels, one, depth=PROCESSED[pixels]) for k, one in enumerate(stored)], fits=True)
