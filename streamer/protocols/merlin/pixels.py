"""Pixels of a Merlin frame: processed (``U08``, ``U16``, ``U32``, big-endian) or raw (``R64``), as patterns.

A raw frame consists of 64-bit words, big-endian, each with the pixel of the lowest column in its lowest bits: 64 pixels
of 1 bit, 8 of 6 bits (a byte each) or 4 of 12 bits (two bytes each). Raw frames of 24 bits are two 12-bit frames in a
row, the higher half of each count first. A raw line of four chips (2x2) holds one line of each chip; with the first row
on top: the lower right and the lower left chip, both turned by 180°, the upper right and the upper left chip.

Merlin's first row is the lowest of the picture: patterns are flipped vertically, as its own software and readers of its
files show them, so that a received scan and the same scan opened as a file have the same orientation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.streamer.protocols.merlin.headers import FrameHeader
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE, MAX_FRAME_BYTES

CHIP_SIDE = 256
GAP = 2
"""Pixels between the chips of a raw 2x2G frame, which Merlin leaves out."""
_PROCESSED = {"U08": "|u1", "U16": "<u2", "U32": "<u4"}
_RAW = {1: "|u1", 6: "|u1", 12: "<u2", 24: "<u4"}
_RAW_BITS = {1: 1, 6: 8, 12: 16, 24: 32}
"""Bits occupied by a raw pixel."""
_WORD = np.dtype(">u8")
_WORD_PIXELS = 64
"""Largest number of pixels in a word: lines of chips are whole words."""


@dataclass(frozen=True)
class PixelLayout:
    """Arrangement of the pixels of a frame. shape: (rows, columns) of the pattern; dtype: numpy dtype string,
    little-endian; depth: bits of a raw pixel, 0 for a processed one; quad: four raw chips; nbytes: of the frame's
    pixels.
    """

    shape: tuple[int, int]
    dtype: str
    depth: int
    quad: bool
    nbytes: int


def pixel_layout(frame: FrameHeader, depth: int | None) -> PixelLayout:
    """Return the pixel layout of a frame, if it is supported; ``depth``: of the counter, where known.

    Raises WireError: ``wrong_dtype``, ``unknown_layout``, ``impossible_value``.
    """
    rows, columns = frame.shape
    if frame.pixels in _PROCESSED:
        dtype = _PROCESSED[frame.pixels]
        layout = PixelLayout(frame.shape, dtype, 0, False, rows * columns * np.dtype(dtype).itemsize)
    elif frame.pixels == "R64" and depth in _RAW:
        layout = _raw_layout(frame, depth)
    else:
        text = "raw pixels of an unknown counter depth" if frame.pixels == "R64" else f"pixels {frame.pixels[:8]!r}"
        raise WireError(f"frame {frame.number}: {text}", "wrong_dtype")
    (rows, columns), itemsize = layout.shape, np.dtype(layout.dtype).itemsize
    if max(rows, columns) > MAX_DETECTOR_SIDE or rows * columns * itemsize > MAX_FRAME_BYTES:
        raise WireError(f"frame {frame.number}: {rows} x {columns} pixels are impossible", "impossible_value")
    return layout


def _raw_layout(frame: FrameHeader, depth: int) -> PixelLayout:
    """Return the layout of a raw frame: the header tells how the chips lie side by side. Raises WireError."""
    rows, columns = frame.shape
    name = frame.layout.removesuffix("G")
    quad = name == "2x2"
    if depth == 24 and columns == 2 * frame.chips * CHIP_SIDE:
        columns //= 2  # both halves of the counts are counted as columns
    known = (frame.chips == 4 and columns == 4 * CHIP_SIDE) if quad else name in ("1x1", "Nx1")
    if not known or columns % _WORD_PIXELS:
        text = f"{frame.chips} chips {frame.layout[:8]!r} of {rows} x {columns} raw pixels"
        raise WireError(f"frame {frame.number}: {text}", "unknown_layout")
    gap = GAP if frame.layout.endswith("G") else 0
    shape = (2 * rows + gap, 2 * CHIP_SIDE + gap) if quad else (rows, columns)
    return PixelLayout(shape, _RAW[depth], depth, quad, rows * columns * _RAW_BITS[depth] // 8)


def decode_pixels(layout: PixelLayout, data: Buffer) -> bytes:
    """Decode a pattern (rows, columns) in C order, of ``layout.dtype``, from ``layout.nbytes`` bytes."""
    if layout.depth == 0:
        dtype = np.dtype(layout.dtype)
        stored = np.frombuffer(data, dtype.newbyteorder(">")).reshape(layout.shape)
        return stored[::-1].astype(dtype).tobytes()
    counts = _raw_counts(layout.depth, data)
    if not layout.quad:
        return counts.reshape(layout.shape)[::-1].tobytes()
    return _joined_quad(counts, layout.shape).tobytes()


def _raw_counts(depth: int, data: Buffer) -> Array:
    """Return the counts of a raw frame in the order of its words."""
    words = np.frombuffer(data, _WORD).astype("<u8")  # now the lowest column is in the lowest bits: first in memory
    if depth == 1:
        return np.unpackbits(words.view("u1"), bitorder="little")
    if depth == 6:
        return words.view("u1")
    if depth == 12:
        return words.view("<u2")
    high, low = words.view("<u2").reshape(2, -1)
    combined = high.astype("<u4")
    combined <<= 12
    combined += low
    return combined


def _joined_quad(counts: Array, shape: tuple[int, int]) -> Array:
    """Put four chips in their places, the last row on top, so that the two rotated chips lie above."""
    lines = counts.reshape(-1, 4, CHIP_SIDE)
    height, left, right = len(lines), slice(0, CHIP_SIDE), slice(-CHIP_SIDE, None)
    pattern = np.zeros(shape, counts.dtype)
    pattern[:height, right], pattern[:height, left] = lines[:, 0, ::-1], lines[:, 1, ::-1]
    pattern[-height:, right], pattern[-height:, left] = lines[::-1, 2], lines[::-1, 3]
    return pattern


@lru_cache(maxsize=8)
def stored_bytes(layout: PixelLayout, wanted: tuple[int, ...]) -> IndexArray | None:
    """Index of the frame byte that holds each of some bytes of its pattern, (n,); -1 between chips.

    None where a pixel does not occupy whole bytes of the frame: 1 bit, and 24 bits. Determined by decoding frames that
    hold the positions of their bytes.
    """
    if layout.depth in (1, 24):
        return None
    at = np.arange(layout.nbytes)
    found = np.zeros(len(wanted), dtype=np.int64)
    for shift in (0, 8, 16):  # of positions below MAX_MPX_BYTES
        found |= _decoded_bytes(layout, (at >> shift).astype("u1"))[list(wanted)].astype(np.int64) << shift
    found[_decoded_bytes(layout, np.full(layout.nbytes, 0xFF, "u1"))[list(wanted)] == 0] = -1
    return found


def _decoded_bytes(layout: PixelLayout, stored: Array) -> Array:
    return np.frombuffer(decode_pixels(layout, stored.tobytes()), "u1")


def gap_pixels(frame: FrameHeader, shape: tuple[int, int]) -> BoolArray | None:
    """Pixels (rows, columns) that lie between chips and count nothing; None if there are no such pixels."""
    if not frame.layout.endswith("G"):
        return None
    across, down = (2, 2) if frame.layout.startswith("2x2") else (frame.chips, 1)
    between = np.zeros(shape, dtype=bool)
    between |= _gaps(shape[0], down)[:, None]
    between |= _gaps(shape[1], across)[None, :]
    return between if between.any() else None


def _gaps(length: int, chips: int) -> BoolArray:
    """Which pixels along one side lie between chips, if the excess over the chips divides evenly."""
    found = np.zeros(length, dtype=bool)
    beyond = length - chips * CHIP_SIDE
    if chips < 2 or beyond <= 0 or beyond % (chips - 1):
        return found
    gap = beyond // (chips - 1)
    for k in range(1, chips):
        start = k * CHIP_SIDE + (k - 1) * gap
        found[start : start + gap] = True
    return found
