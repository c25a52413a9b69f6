"""One float32 picture as a TIFF that ImageJ opens with its scale (TIFF 6.0, one uncompressed strip)."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import Array

_SHORT, _LONG, _RATIONAL, _ASCII = 3, 4, 5, 2
_MOST = 2**32 - 1
_SOFTWARE = 305
_AUTHOR = b"ptylive\0"
_MOST_ENTRIES = 32
"""Our tables have fewer."""


def write_tiff(path: Path, data: Array, sampling_A: tuple[float, float] | None) -> None:
    """Write float32 (rows, cols); ``sampling_A``: pixel spacing (row, col), recorded for ImageJ in nm."""
    pixels = np.ascontiguousarray(data, dtype="<f4")
    text = b"ImageJ=1.53\nunit=nm\n\0" if sampling_A is not None else b"ImageJ=1.53\n\0"
    offset = 8 + pixels.nbytes
    extra = bytearray(text + b"\0" * (len(text) % 2))
    entries = [
        (256, _LONG, 1, pixels.shape[1]),
        (257, _LONG, 1, pixels.shape[0]),
        (258, _SHORT, 1, 32),
        (259, _SHORT, 1, 1),
        (262, _SHORT, 1, 1),
        (270, _ASCII, len(text), offset),
        (273, _LONG, 1, 8),
        (277, _SHORT, 1, 1),
        (278, _LONG, 1, pixels.shape[0]),
        (279, _LONG, 1, pixels.nbytes),
    ]
    if sampling_A is not None:
        for tag, step_A in ((282, sampling_A[1]), (283, sampling_A[0])):  # pixels per nm along columns, rows
            entries.append((tag, _RATIONAL, 1, offset + len(extra)))
            extra += struct.pack("<II", *_rational(10.0 / step_A))
        entries.append((296, _SHORT, 1, 1))  # ImageJ reads the unit from the description
    entries.append((_SOFTWARE, _ASCII, len(_AUTHOR), offset + len(extra)))
    extra += _AUTHOR
    entries.append((339, _SHORT, 1, 3))  # IEEE floating point
    table = struct.pack("<H", len(entries)) + b"".join(_entry(*entry) for entry in entries) + struct.pack("<I", 0)
    with replacing(path) as temporary:
        temporary.write_bytes(
            struct.pack("<2sHI", b"II", 42, offset + len(extra)) + pixels.tobytes() + bytes(extra) + table
        )


def is_own_tiff(path: Path) -> bool:
    """Whether :func:`write_tiff` wrote a file. Raises OSError."""
    with path.open("rb") as file:
        header = file.read(8)
        if len(header) < 8 or header[:4] != struct.pack("<2sH", b"II", 42):
            return False
        file.seek(struct.unpack("<I", header[4:])[0])
        table = file.read(2 + 12 * _MOST_ENTRIES)
        for place in range(2, len(table) - 11, 12):
            tag, kind, count, value = struct.unpack("<HHII", table[place : place + 12])
            if tag == _SOFTWARE:
                file.seek(value)
                return (kind, count) == (_ASCII, len(_AUTHOR)) and file.read(count) == _AUTHOR
    return False


def _rational(value: float) -> tuple[int, int]:
    """A positive number below 2^32 as the quotient of two 32-bit integers, the second a power of ten."""
    denominator = 10 ** min(9, max(0, math.floor(math.log10(_MOST / value))))
    return min(_MOST, max(1, round(value * denominator))), denominator


def _entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """One entry of the tag table; a 16-bit value occupies the first bytes of its field."""
    packed = struct.pack("<HH", value, 0) if kind == _SHORT else struct.pack("<I", value)
    return struct.pack("<HHI", tag, kind, count) + packed
