"""MRC files: a stack of patterns, or a stack of stacks (mrcfile's volume stack) read as the rows of a scan.

The layout is that of MRC2014 (https://www.ccpem.ac.uk/mrc_format/mrc2014.php). Sizes of voxels are those of images and
are not used.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.file_kinds import kind_of
from ptylive.schema.files.small_files import check_is_file
from ptylive.streamer.storage.file_frames import FileFrames
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile

_HEADER_BYTES = 1024
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_COMPLEX_OR_PACKED = {3: "complex integers", 4: "complex numbers", 101: "numbers of 4 bits"}
_MAP, _STAMP = slice(208, 212), slice(212, 214)
_BIG_ENDIAN = b"\x11\x11"
_VOLUME_STACKS = range(401, 631)
"""Space groups from P1 to the last one, plus 400: a stack of volumes."""
_IMOD, _SIGNED = 1146047817, 1
"""IMOD's mark of a header, and the bit of its flags that says whether bytes have a sign."""
_CUT_SHORT = "wait until it is written, or copy it again"
_HINT = "save the patterns as numbers of 8 or 16 bits or float32, or with numpy.save"


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int

    @classmethod
    def of(cls, path: Path, raw: bytes) -> _Header:
        """Read the header. Raises InputFileError for one that is not of patterns."""
        order = ">" if raw[_STAMP] == _BIG_ENDIAN else "<"
        columns, rows, sections, mode = struct.unpack_from(f"{order}4i", raw, 0)
        (volume,), (space, extended) = (
            struct.unpack_from(f"{order}i", raw, 36),
            struct.unpack_from(f"{order}2i", raw, 88),
        )
        if mode in _COMPLEX_OR_PACKED:
            raise InputFileError(f"{path} holds {_COMPLEX_OR_PACKED[mode]} (mode {mode})", _HINT)
        if mode not in _TYPES or min(columns, rows, sections) < 1 or extended < 0:
            stated = f"{columns} x {rows} x {sections} of mode {mode}, behind {extended} more bytes"
            raise InputFileError(f"{path} is not a usable MRC file: its header states {stated}", _HINT)
        axes = struct.unpack_from(f"{order}3i", raw, 64)
        if axes not in ((1, 2, 3), (0, 0, 0)):
            raise InputFileError(f"{path}: its axes are stored in the order {axes}, not (1, 2, 3)", _HINT)
        mark, flags = struct.unpack_from(f"{order}2i", raw, 152)
        unsigned = mode == 0 and mark == _IMOD and not flags & _SIGNED
        dtype = np.dtype("u1" if unsigned else f"{order}{_TYPES[mode]}")
        rows_of_scan = sections // volume if space in _VOLUME_STACKS and volume > 0 and sections % volume == 0 else 0
        leading = (rows_of_scan, volume) if rows_of_scan else (sections,)
        return cls((*leading, rows, columns), dtype, _HEADER_BYTES + extended)


def recognises(raw: bytes) -> bool:
    """Whether the first bytes of a file are a header of MRC2014 or later versions of its predecessor."""
    return raw[_MAP] in (b"MAP ", b"MAP\0")


@contextmanager
def open_mrc(path: Path) -> Iterator[ScanFile]:
    """Open an ``.mrc`` or ``.mrcs``, whose patterns stay in it. Raises InputFileError."""
    check_is_file(path)
    with path.open("rb") as file:
        raw = file.read(_HEADER_BYTES)
    if not recognises(raw):
        if (kind := kind_of(path, ".mrc")) is not None:
            raise InputFileError(f"{path} is not an MRC file, but {kind[0]}", kind[1])
        raise InputFileError(f"{path} is not an MRC file: its header lacks the mark MAP", _HINT)
    if len(raw) < _HEADER_BYTES:
        raise InputFileError(f"{path} is cut short: it has {len(raw)} bytes, fewer than its header", _CUT_SHORT)
    header = _Header.of(path, raw)
    size, needed = path.stat().st_size, header.start + math.prod(header.shape) * header.dtype.itemsize
    if size < needed:
        problem = f"{path} is cut short: it has {size} bytes, and its header announces {needed}"
        raise InputFileError(problem, _CUT_SHORT)
    notes: tuple[str, ...] = ()
    if len(header.shape) == 4:
        rows, columns = header.shape[:2]
        notes = (f"its stack of {rows} volumes of {columns} patterns is read as the rows of a scan{CHECK_IT}",)
    yield ScanFile(FileFrames(path, header.dtype, header.start, header.shape), notes=notes)
