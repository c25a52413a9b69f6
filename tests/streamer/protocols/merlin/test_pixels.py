"""Pixels of every mode and layout, against packing done one pixel at a time (merlin_tools) and the vendor's samples."""

import numpy as np
import pytest
from merlin_tools import CHIP, counts, frame, raw_frame
from shared_data import vendor_file

from ptylive.schema import WireError
from ptylive.schema.model import Array
from ptylive.streamer.protocols.merlin.headers import FrameHeader, parse_frame_header
from ptylive.streamer.protocols.merlin.pixels import decode_pixels, gap_pixels, pixel_layout

QUAD, GAPS = (2 * CHIP, 2 * CHIP), (2 * CHIP + 2, 2 * CHIP + 2)


def decoded(message: bytes, depth: int | None = None) -> Array:
    """A message's pattern (rows, columns)."""
    header = parse_frame_header(memoryview(message))
    layout = pixel_layout(header, header.counter_depth or depth)
    data = memoryview(message)[header.data_offset :]
    assert len(data) == layout.nbytes
    pattern = decode_pixels(layout, data)
    return np.frombuffer(pattern, layout.dtype).reshape(layout.shape)


def with_gaps(stored: Array) -> Array:
    """Four chips with two empty pixels between them."""
    out = np.zeros(GAPS, stored.dtype)
    out[:CHIP, :CHIP], out[:CHIP, -CHIP:] = stored[:CHIP, :CHIP], stored[:CHIP, CHIP:]
    out[-CHIP:, :CHIP], out[-CHIP:, -CHIP:] = stored[CHIP:, :CHIP], stored[CHIP:, CHIP:]
    return out


@pytest.mark.parametrize(("pixels", "depth"), [("U08", 1), ("U08", 6), ("U16", 12), ("U32", 24)])
@pytest.mark.parametrize("shape", [(CHIP, CHIP), (64, CHIP), QUAD, (515, 515), (CHIP, 4 * CHIP), (16, 12)])
def test_processed_pixels_are_turned_upright(pixels: str, depth: int, shape: tuple[int, int]) -> None:
    (stored,) = counts(shape, depth)
    pattern = decoded(frame(1, pixels, stored, depth=depth))
    assert pattern.dtype.str == {"U08": "|u1", "U16": "<u2", "U32": "<u4"}[pixels]
    assert np.array_equal(pattern[::-1], stored)


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize("shape", [(CHIP, CHIP), (64, CHIP), (CHIP, 3 * CHIP)])
def test_raw_pixels_of_chips_in_a_row(depth: int, shape: tuple[int, int]) -> None:
    (stored,) = counts(shape, depth)
    layout = "1x1" if shape[1] == CHIP else "Nx1"
    assert np.array_equal(decoded(raw_frame(1, stored, depth, layout))[::-1], stored)


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
def test_raw_pixels_of_four_chips(depth: int) -> None:
    (stored,) = counts(QUAD, depth)
    assert np.array_equal(decoded(raw_frame(1, stored, depth, "2x2"))[::-1], stored)
    assert np.array_equal(decoded(raw_frame(1, with_gaps(stored), depth, "2x2G"))[::-1], with_gaps(stored))


@pytest.mark.parametrize("name", ["001_4x2_6bit", "002_4x2_6bit_roi128"])
def test_a_vendor_sample_is_what_the_reader_of_files_makes_of_it(name: str) -> None:
    reader = pytest.importorskip("rsciio.quantumdetector").file_reader
    path = vendor_file(f"{name}.mib")
    wanted = reader(str(path))[0]["data"]
    wanted = wanted.reshape(-1, *wanted.shape[-2:])
    message = path.read_bytes()
    size = 384 + wanted[0].nbytes
    assert len(message) == len(wanted) * size
    for k, pattern in enumerate(wanted):
        assert np.array_equal(decoded(message[k * size : (k + 1) * size]), pattern)


def test_a_raw_vendor_sample_has_every_pixel_in_its_place() -> None:
    message = vendor_file("merlin_raw_1bit_9frames.mib").read_bytes()
    size = 384 + CHIP * CHIP // 8
    assert len(message) == 9 * size
    for k in range(9):
        data = message[k * size + 384 : (k + 1) * size]
        pattern = decoded(message[k * size : (k + 1) * size])[::-1]
        # a bit of a byte by LiberTEM's indices: words of 8 bytes, last byte first, lowest bit first
        for y, x in np.random.default_rng(k).integers(0, CHIP, (200, 2)):
            byte = data[32 * y + 8 * (x // 64) + 7 - x % 64 // 8]
            assert pattern[y, x] == byte >> x % 8 & 1
    assert pattern.any() and not pattern.all()


def header(**changed: object) -> FrameHeader:
    """An ordinary frame of one chip."""
    usual = {"number": 0, "data_offset": 384, "chips": 1, "shape": (256, 256), "pixels": "R64", "layout": "1x1"}
    return FrameHeader(**{**usual, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "depth", "reason"),
    [
        ({"pixels": "U64"}, 12, "wrong_dtype"),
        ({"pixels": "R64"}, None, "wrong_dtype"),
        ({"layout": "3x3"}, 12, "unknown_layout"),
        ({"layout": "2x2", "chips": 3, "shape": (256, 768)}, 12, "unknown_layout"),
        ({"layout": "2x2", "chips": 4, "shape": (256, 512)}, 12, "unknown_layout"),
        ({"shape": (256, 250)}, 6, "unknown_layout"),
        ({"shape": (8193, 256)}, 6, "impossible_value"),
        ({"shape": (256, 8256)}, 6, "impossible_value"),
        ({"shape": (8192, 8192), "pixels": "U32"}, 24, "impossible_value"),
    ],
)
def test_pixels_nobody_can_read_are_refused_before_they_are_unpacked(
    changed: dict[str, object], depth: int | None, reason: str
) -> None:
    with pytest.raises(WireError) as caught:
        pixel_layout(header(**changed), depth)
    assert caught.value.reason == reason
    assert str(caught.value).startswith("frame 0: ")


@pytest.mark.parametrize("gap", [2, 3])
def test_gaps_between_chips_are_no_pixels(gap: int) -> None:
    side = 2 * CHIP + gap
    between = gap_pixels(header(layout="2x2G", chips=4), (side, side))
    assert between is not None
    rows = np.arange(side)
    inside = (rows >= CHIP) & (rows < CHIP + gap)
    assert np.array_equal(between, inside[:, None] | inside[None, :])


def test_gaps_of_chips_in_a_row() -> None:
    between = gap_pixels(header(layout="Nx1G", chips=3), (CHIP, 3 * CHIP + 6))
    assert between is not None
    assert sorted(set(np.flatnonzero(between.all(axis=0)))) == [*range(256, 259), *range(515, 518)]
    assert between.sum() == 6 * CHIP


@pytest.mark.parametrize(
    ("layout", "chips", "shape"),
    [("2x2", 4, (514, 514)), ("2x2G", 4, QUAD), ("Nx1G", 4, (CHIP, 4 * CHIP)), ("Nx1G", 4, (CHIP, 4 * CHIP + 4))],
)
def test_detectors_without_gaps_have_no_gap_pixels(layout: str, chips: int, shape: tuple[int, int]) -> None:
    assert gap_pixels(header(layout=layout, chips=chips), shape) is None
