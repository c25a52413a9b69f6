"""The Timepix3 stream, written here from the public description (LiberTEM-rs ``libertem_asi_tpx3``), byte by byte."""

import struct
from typing import Any

from event_tools import csr

from ptylive.schema.model import Array

CODES = {1: 2, 2: 3, 4: 4, 8: 5}
"""Size of a number in bytes -> code of its type."""


def acquisition_start(nav: tuple[int, int], sig: tuple[int, int], **fields: Any) -> bytes:
    indptr, index = CODES[fields.get("indptr", 4)], CODES[fields.get("index", 4)]
    head = struct.pack("<BBBHHB", 0, 7, fields.get("values", 0), *nav, indptr)
    return (head + struct.pack("<HHBI", *sig, index, fields.get("sequence", 1))).ljust(32, b"\0")


def scan_start(sequence: int = 1, text: bytes = b"") -> bytes:
    return struct.pack("<BIQ", 1, sequence, len(text)).ljust(32, b"\0") + text


def scan_end(sequence: int = 1) -> bytes:
    return struct.pack("<BI", 3, sequence).ljust(32, b"\0")


def acquisition_end(sequence: int = 1) -> bytes:
    return struct.pack("<BI", 4, sequence).ljust(32, b"\0")


def chunk(frames: Array, **fields: Any) -> bytes:
    """Patterns (n, Qy, Qx) as one chunk; align: arrays begin at multiples of this many bytes."""
    lengths, pixels, counts = csr(frames)
    ends = [0, *lengths.cumsum().tolist()]
    sizes = fields.get("indptr", 4), fields.get("index", 4), fields.get("value", 2)
    indptr, indices, values = (
        b"".join(int(n).to_bytes(size, "little") for n in numbers)
        for numbers, size in zip((ends, pixels, counts), sizes, strict=True)
    )
    align = fields.get("align", 1)
    indptr += bytes(-len(indptr) % align)
    indices += bytes(-len(indptr + indices) % align)
    indices_offset, values_offset = len(indptr), len(indptr + indices)
    head = struct.pack("<BBIIII", 2, CODES[sizes[2]], len(frames), len(pixels), indices_offset, values_offset)
    return head.ljust(32, b"\0") + indptr + indices + values


def scan(frames: Array, lines: int, sequence: int = 1, **fields: Any) -> list[bytes]:
    """A scan of patterns (n, Qy, Qx) as messages, with a chunk for every ``lines`` lines."""
    each = len(frames) // lines
    chunks = [chunk(frames[k : k + each], **fields) for k in range(0, len(frames), each)]
    return [scan_start(sequence, fields.get("text", b"")), *chunks, scan_end(sequence)]


def acquisition(frames: Array, lines: int, **fields: Any) -> list[bytes]:
    """An acquisition of one scan."""
    nav = lines, len(frames) // lines
    return [acquisition_start(nav, frames.shape[1:], **fields), *scan(frames, lines, **fields), acquisition_end()]
