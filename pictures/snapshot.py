"""A picture as it is on the screen, as a PNG: colours, contrast and a scale bar, for slides and thumbnails."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ptylive.pictures.colours import ColourMap, Levels, levels, palette, to_indices
from ptylive.pictures.scalebar import nice_length
from ptylive.schema.model import Array, BoolArray, IndexArray

LEAST_SIDE = 768
"""Small maps are enlarged by whole factors until they have about this size."""
MOST_SIDE = 8192
"""Upper bound of the side of a picture that is longer than its map because its pixels are not square."""
Rgb = npt.NDArray[np.uint8]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = len(_SIGNATURE) + 25
"""Bytes of a PNG up to its second chunk: signature and header."""
_AUTHOR = (b"tEXt", b"Software\0ptylive")
_GLYPHS = {
    "0": "69999996", "1": "26222227", "2": "6911248f", "3": "69161196", "4": "1359f111", "5": "f88e1196",
    "6": "688e9996", "7": "f1122444", "8": "69969996", "9": "69997116", ".": "00000066", "n": "000e9999",
    "m": "000fbbbb", "p": "00e99e88", "µ": "009999e8", "Å": "6069f999", " ": "00000000",
}  # fmt: skip
"""4 × 8 pixels each, one hexadecimal digit per row."""


def draw(
    data: Array,
    colour_map: ColourMap,
    *,
    visited: BoolArray | None = None,
    limits: Levels | None = None,
    sampling_A: tuple[float, float] | None = None,
    least_side: int = LEAST_SIDE,
    scale_bar: bool = True,
) -> Rgb:
    """RGB (rows, cols, 3) of a map as the dashboard shows it, enlarged, with a scale bar if its scale is known.

    Lengths along rows and columns then have the same scale, whatever the scan steps are.
    """
    limits = limits or levels(data, visited)
    indices = to_indices(np.asarray(data, dtype=np.float32), limits, visited)
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette(colour_map)], dtype=np.uint8)
    picture: Rgb = colours[in_proportion(indices, sampling_A, least_side)]
    if sampling_A is not None and scale_bar:
        draw_scale_bar(picture, sampling_A[1] * data.shape[1] / picture.shape[1])
    return picture


def in_proportion(data: Array, sampling_A: tuple[float, float] | None, least_side: int = 1) -> Array:
    """Pixels (rows, cols) repeated until the longer side has ``least_side``, more often along the longer step."""
    sides = _sides(data.shape, sampling_A, least_side)
    rows, cols = (_spread(n, side) for n, side in zip(data.shape, sides, strict=True))
    spread: Array = data[np.ix_(rows, cols)]
    return spread


def _sides(shape: tuple[int, ...], sampling_A: tuple[float, float] | None, least_side: int) -> tuple[int, int]:
    """Rows and columns of the picture of a map: whole pixels, more of them along the axis of the longer step."""
    factor = max(1, least_side // max(shape))
    rows, cols = shape[0] * factor, shape[1] * factor
    if sampling_A is None or not min(sampling_A) > 0:
        return rows, cols
    tall, wide = (n * step / min(sampling_A) for n, step in zip((rows, cols), sampling_A, strict=True))
    shrunk = min(1.0, max(MOST_SIDE, rows, cols) / max(tall, wide))
    return max(1, round(tall * shrunk)), max(1, round(wide * shrunk))


def _spread(count: int, side: int) -> IndexArray:
    """Index of the pixel, of ``count``, that each of ``side`` pixels shows."""
    return (np.arange(side) * count) // side


def draw_scale_bar(picture: Rgb, pixel_A: float) -> None:
    """Draw a white bar with its length on a dark background at the lower left; nothing if its length is unknown."""
    rows, cols = picture.shape[:2]
    bar = nice_length(cols * pixel_A)
    if bar is None:
        return
    zoom = max(1, min(rows, cols) // 256)
    word = _text_pixels(bar.text, zoom)
    length, gap = max(1, round(bar.length / pixel_A)), 3 * zoom
    height = word.shape[0] + 3 * gap + 2 * zoom
    width = max(length, word.shape[1]) + 2 * gap
    if height + gap > rows or width + gap > cols:
        return
    top, left = rows - height - gap, gap
    picture[top : top + height, left : left + width] //= 3
    picture[top + height - gap - 2 * zoom : top + height - gap, left + gap : left + gap + length] = 255
    middle = left + gap + max(0, (length - word.shape[1]) // 2)
    picture[top + gap : top + gap + word.shape[0], middle : middle + word.shape[1]][word] = 255


def _text_pixels(text: str, zoom: int) -> BoolArray:
    """A text as pixels."""
    letters = []
    for letter in text:
        digits = _GLYPHS.get(letter, _GLYPHS[" "])[:8]
        rows = [[bool(int(digit, 16) >> bit & 1) for bit in (3, 2, 1, 0)] for digit in digits]
        letters.append(np.pad(np.array(rows), ((0, 0), (0, 1))))
    return np.repeat(np.repeat(np.concatenate(letters, axis=1), zoom, axis=0), zoom, axis=1)


def png(picture: Rgb) -> bytes:
    """An RGB picture as a PNG file that names ptylive as its author."""
    rows, cols = picture.shape[:2]
    lines = np.zeros((rows, 1 + 3 * cols), dtype=np.uint8)
    lines[:, 1:] = np.ascontiguousarray(picture).reshape(rows, -1)
    header = struct.pack(">IIBBBBB", cols, rows, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), _AUTHOR, (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in parts)


def is_own_png(path: Path) -> bool:
    """Whether :func:`png` made the picture in a file. Raises OSError."""
    author = _chunk(*_AUTHOR)
    with path.open("rb") as file:
        beginning = file.read(_HEADER_BYTES + len(author))
    return beginning.startswith(_SIGNATURE) and beginning.endswith(author)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
