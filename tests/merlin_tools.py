"""Merlin's messages as its software writes them, made here from the public descriptions, byte by byte."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np

from ptylive.schema.model import Array

CHIP = 256
DTYPES = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}
GROUPS = {6: (8, 1), 12: (4, 2)}
"""Bits of a counter -> pixels in a group, bytes of each group."""
HEADER_BYTES = {1: 384, 4: 768}
CHIP_FIELDS = ",3RX" + ",068,511,000" * 9
START = datetime(2024, 4, 25, 15, 50, 41, 49778)


def mpx(body: bytes) -> bytes:
    """A message as sent: the length includes the comma before the body."""
    return b"MPX,%010d," % (len(body) + 1) + body


def acquisition_header(frames: int, depth: int = 12, **more: Any) -> bytes:
    """``HDR,`` as Merlin writes it, padded to 2048 bytes; further lines by their names with _ for blanks."""
    lines = [
        "HDR,\t",
        "Time and Date Stamp (day, mnth, yr, hr, min, s):\t25/04/2024 15:50:40",
        "Chip ID:\tW530_D4,W530_E4,W530_C4,W530_L5",
        f"Counter Depth (number):\t{depth}",
        "Gap Fill Mode:\tNone",
        "Flat Field File:\tNone",
        f"Frames in Acquisition (Number):\t{frames}",
        f"Frames per Trigger (Number):\t{more.pop('per_trigger', frames)}",
        "Sensor Bias (V):\t120 V, 3 µA",
        *(f"{name}:\t{value}" for name, value in more.items()),
        "End\t",
    ]
    return "\r\n".join(lines).encode("latin-1").ljust(2048)


def frame_header(number: int, pixels: str, shape: tuple[int, int], **fields: Any) -> bytes:
    """``MQ1,`` with sequence number ``number`` (from 1), a microsecond after the one before; depth None: without the
    extension.
    """
    chips, depth = fields.get("chips", 1), fields.get("depth", 12)
    layout, offset = fields.get("layout", "1x1"), HEADER_BYTES.get(fields.get("chips", 1), 768)
    time = fields.get("start", START) + timedelta(microseconds=number)
    text = f"MQ1,{number:06d},{offset:05d},{chips:02d},{shape[1]:04d},{shape[0]:04d},{pixels},{layout:>6},0F,{time},"
    text += "0.000309,0,0,0,3.400000E+1,5.110000E+2" + ",0.000000E+0" * 6 + CHIP_FIELDS * (1 if chips == 1 else 4)
    if depth is not None:
        text += f",MQ1A,{time.isoformat(timespec='microseconds')}723Z,309200ns,{depth},"
    assert len(text) <= offset, len(text)
    return text.encode("latin-1").ljust(offset, fields.get("fill", b" "))


def frame(number: int, pixels: str, stored: Array, **fields: Any) -> bytes:
    """A frame of processed pixels (rows, columns) as Merlin stores them: its first row is the bottom of the picture."""
    return frame_header(number, pixels, stored.shape, **fields) + stored.astype(DTYPES[pixels]).tobytes()


def packed_line(line: Array, depth: int) -> bytes:
    """A line of a chip in raw packing, one pixel after the other."""
    if depth == 1:
        return np.packbits(line.reshape(-1, 64)[:, ::-1], axis=1).tobytes()
    pixels, nbytes = GROUPS[depth]
    return line.reshape(-1, pixels)[:, ::-1].astype(f">u{nbytes}").tobytes()


def raw_frame(number: int, stored: Array, depth: int, layout: str = "1x1", **fields: Any) -> bytes:
    """A raw frame of a pattern that Merlin would store like this if processed (gaps included)."""
    if depth == 24:
        body = b"".join(_raw_pixels(part, 12, layout) for part in (stored >> 12, stored & 0xFFF))
        columns = 2 * _raw_columns(stored, layout)
    else:
        body, columns = _raw_pixels(stored, depth, layout), _raw_columns(stored, layout)
    rows = CHIP if layout.startswith("2x2") else len(stored)
    chips = 4 if layout.startswith("2x2") else stored.shape[1] // CHIP
    return frame_header(number, "R64", (rows, columns), chips=chips, layout=layout, depth=depth, **fields) + body


def _raw_columns(stored: Array, layout: str) -> int:
    return 4 * CHIP if layout.startswith("2x2") else int(stored.shape[1])


def _raw_pixels(stored: Array, depth: int, layout: str) -> bytes:
    if not layout.startswith("2x2"):
        return b"".join(packed_line(line, depth) for line in stored)
    upper, lower = stored[:CHIP], stored[-CHIP:][::-1]
    lines = []
    for y in range(CHIP):
        chips = (lower[y, -CHIP:][::-1], lower[y, :CHIP][::-1], upper[y, -CHIP:], upper[y, :CHIP])
        lines += [packed_line(chip, depth) for chip in chips]
    return b"".join(lines)


def counts(shape: tuple[int, int], depth: int, seed: int = 0, count: int = 1) -> Array:
    """Stored patterns (count, rows, columns) that use every bit of a counter."""
    dtype = {1: "u1", 6: "u1", 12: "<u2", 24: "<u4"}[depth]
    return np.random.default_rng(seed).integers(0, 2**depth, (count, *shape)).astype(dtype)


def acquisition(frames: Array, pixels: str = "U16", first: int = 1, **fields: Any) -> list[bytes]:
    """Header and frames of an acquisition of stored patterns (n, rows, columns), without prefixes."""
    images = [frame(first + k, pixels, one, **fields) for k, one in enumerate(frames)]
    return [acquisition_header(len(frames), fields.get("depth") or 12), *images]
