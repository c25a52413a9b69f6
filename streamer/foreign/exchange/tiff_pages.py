"""Pages of TIFF files read without Pillow, by their tags: numbers of any size and either byte order, in strips or
tiles, uncompressed or deflated.

Pillow has no floats of 16 and 64 bits and no integers of 64, and returns some compressed pages with their bytes swapped
if the most significant byte is stored first. The format is that of TIFF 6.0 and its technical note 3, and of BigTIFF.
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array

MOST_PIXELS = 2**26
"""Limit on a page."""
MOST_PAGES = 10**7
_MOST_TAGS, _MOST_TAG_BYTES, _MOST_SAMPLES = 4096, 2**24, 8
_LARGER = 2**16
"""Bytes beyond twice those of its pixels that a stored strip or tile may have."""
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _FILL_ORDER, _DESCRIPTION, _OFFSETS = 256, 257, 258, 259, 266, 270, 273
_ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _COUNTS, _PREDICTOR, _TILE_WIDTH, _TILE_LENGTH = (
    274,
    277,
    278,
    279,
    317,
    322,
    323,
)
_TILE_OFFSETS, _TILE_COUNTS, _FORMAT = 324, 325, 339
_USED = (
    *(_WIDTH, _LENGTH, _BITS, _COMPRESSION, _FILL_ORDER, _OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _COUNTS),
    *(_PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT),
)
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TEXT = 2
_KINDS = {1: "u", 2: "i", 3: "f"}
_FLOATS, _INTEGERS = (16, 32, 64), (8, 16, 32, 64)
_NONE, _DEFLATED = 1, (8, 32946)
_NAMES = {
    **{5: "LZW", 6: "JPEG", 7: "JPEG", 32773: "PackBits", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000"},
    **{34887: "LERC", 34925: "LZMA", 34926: "Zstandard", 50000: "Zstandard", 50001: "WebP"},
}
"""Compressions that are not undone here."""
_AS_STORED, _DIFFERENCES, _FLOAT_DIFFERENCES = 1, 2, 3
_ON_ITS_SIDE = (5, 6, 7, 8)

Tags = dict[int, tuple[int, ...]]


class PageStack:
    """Pages (N, rows, columns) of a file, read one by one when they are accessed."""

    def __init__(self, pages: int, rows: int, columns: int, dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = (pages, rows, columns), dtype

    def __getitem__(self, selection: Any) -> Array:
        chosen = selection[0] if isinstance(selection, tuple) else selection
        if not isinstance(chosen, slice):
            return self._page(int(chosen))
        numbers = range(*chosen.indices(self.shape[0]))
        out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            out[place] = self._page(number)
        return out

    def _page(self, number: int) -> Array:
        """Pixels of a page. Raises OSError for a damaged one, InputFileError for one of another size or type."""
        raise NotImplementedError


def unlike(path: Path, number: int, page: object, first: object) -> InputFileError:
    """Return the error for a page that is not like the first."""
    return InputFileError(
        f"{path}: page {number} is {page}, the first is {first}", "save a stack of pages of one size and type"
    )


@dataclass(frozen=True)
class _Layout:
    """How the pixels of a page are stored. ``block``: rows and columns of a strip or tile."""

    rows: int
    columns: int
    dtype: np.dtype[Any]
    block: tuple[int, int]
    tiled: bool
    deflated: bool
    predictor: int

    @classmethod
    def of(cls, tags: Tags, order: str) -> _Layout:
        """Layout by the tags of a page. Raises OSError for one that is not read here."""
        rows, columns = _one(tags, _LENGTH), _one(tags, _WIDTH)
        if not 0 < rows * columns <= MOST_PIXELS:
            raise OSError(f"its pages are {rows} x {columns}")
        dtype = _pixel(tags, order)
        compression = _one(tags, _COMPRESSION, _NONE)
        if compression not in (_NONE, *_DEFLATED):
            name = _NAMES.get(compression, f"method {compression}")
            raise OSError(f"its pages are compressed with {name}, which is not undone for {_words(dtype)}")
        if _one(tags, _FILL_ORDER, 1) != 1:
            raise OSError("the bits of its bytes are stored in reverse")
        if (side := _one(tags, _ORIENTATION, 1)) in _ON_ITS_SIDE:
            raise OSError(f"its pages lie on their side (orientation {side})")
        tiled = _TILE_OFFSETS in tags
        block = (_one(tags, _TILE_LENGTH), _one(tags, _TILE_WIDTH)) if tiled else (_strip(tags, rows), columns)
        if not 0 < block[0] * block[1] <= MOST_PIXELS:
            raise OSError(f"its pages are stored in pieces of {block[0]} x {block[1]}")
        return cls(rows, columns, dtype, block, tiled, compression != _NONE, _predictor(tags, dtype))

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} {self.dtype.name}"

    @property
    def pieces(self) -> int:
        """Number of strips or tiles."""
        height, width = self.block
        return -(-self.rows // height) * -(-self.columns // width)

    @property
    def most_bytes(self) -> int:
        """Bytes that a stored strip or tile has at most: deflating it may make it larger, but not by much."""
        return 2 * self.block[0] * self.block[1] * self.dtype.itemsize + _LARGER

    def places(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each strip or tile, in the order of their offsets; tiles reach over the edges."""
        height, width = self.block
        for row in range(0, self.rows, height):
            for column in range(0, self.columns, width):
                yield slice(row, row + height), slice(column, column + width)

    def pixels(self, stored: bytes, rows: int) -> Array:
        """Pixels (rows, columns) of a strip or tile, of which ``rows`` are stored. Raises OSError where bytes lack."""
        width, size = self.block[1], self.dtype.itemsize
        needed = rows * width * size
        try:
            raw = zlib.decompressobj().decompress(stored, needed) if self.deflated else stored
        except zlib.error as error:
            raise OSError(str(error)) from None
        if len(raw) < needed:
            raise OSError(f"a page has {len(raw)} bytes where {needed} are needed")
        if self.predictor == _FLOAT_DIFFERENCES:  # of all bytes of a row, the most significant of each number first
            bytes_ = np.cumsum(np.frombuffer(raw, "u1", needed).reshape(rows, width * size), axis=1, dtype=np.uint8)
            ordered = np.ascontiguousarray(bytes_.reshape(rows, size, width).swapaxes(1, 2))
            return ordered.view(self.dtype.newbyteorder(">")).reshape(rows, width)
        found = np.frombuffer(raw, self.dtype, rows * width).reshape(rows, width)
        if self.predictor == _AS_STORED:
            return found
        whole: Any = np.dtype(f"u{size}")
        bits = found.view(whole.newbyteorder(self.dtype.byteorder))
        return np.asarray(np.cumsum(bits, axis=1, dtype=whole).view(self.dtype.newbyteorder("=")))


def _pixel(tags: Tags, order: str) -> np.dtype[Any]:
    """Type of a pixel. Raises OSError for one that is not a single real number."""
    bits, kind = tags.get(_BITS, (1,)), _KINDS.get(_one(tags, _FORMAT, 1))
    if (samples := _one(tags, _SAMPLES, 1)) not in (1, len(bits)):
        raise OSError(f"its pages have {samples} numbers per pixel")
    if kind is None:
        raise OSError("its pixels are not real numbers")
    if len(bits) != 1 or bits[0] not in (_FLOATS if kind == "f" else _INTEGERS):
        raise OSError(f"its pages have {bits_in_words(bits)} per pixel")
    return np.dtype(f"{order}{kind}{bits[0] // 8}")


def _predictor(tags: Tags, dtype: np.dtype[Any]) -> int:
    predictor = _one(tags, _PREDICTOR, _AS_STORED) if _one(tags, _COMPRESSION, _NONE) != _NONE else _AS_STORED
    known = (_AS_STORED, _DIFFERENCES, *((_FLOAT_DIFFERENCES,) if dtype.kind == "f" else ()))
    if predictor not in known:
        raise OSError(f"its pages have the predictor {predictor}, which is not known for {_words(dtype)}")
    return predictor


def bits_in_words(bits: tuple[int, ...]) -> str:
    """Name the bits of each sample of a pixel, of the first ones if there are many."""
    more = " + …" if len(bits) > _MOST_SAMPLES else ""
    return f"{' + '.join(map(str, bits[:_MOST_SAMPLES]))}{more} bit{'' if bits == (1,) else 's'}"


def _words(dtype: np.dtype[Any]) -> str:
    order = ", most significant byte first" if dtype.str[0] == ">" else ""
    return f"{dtype.name}{order}"


def _strip(tags: Tags, rows: int) -> int:
    return min(_one(tags, _ROWS_PER_STRIP, rows), rows)


def _one(tags: Tags, name: int, otherwise: int | None = None) -> int:
    """The first number of a tag. Raises OSError where there is none."""
    found = tags.get(name)
    if found:
        return found[0]
    if otherwise is None:
        raise OSError(f"its pages lack the tag {name}")
    return otherwise


class RawPages(PageStack):
    """Pages of a file that stay in it, all like the first. ``description``: text of the first page."""

    def __init__(self, path: Path) -> None:
        """Read the tags of the first page, and the places of the others. Raises OSError."""
        self._path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        head = self._read(0, 8)
        self._order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = struct.unpack(f"{self._order or '<'}H", head[2:4])[0]
        if not self._order or version not in (42, 43):
            raise OSError("it does not begin as a TIFF")
        self._big = version == 43
        self._places = list(self._chain())
        if not self._places:
            raise OSError("it has no pages")
        tags, self.description = self._tags(self._places[0])
        self._first = _Layout.of(tags, self._order)
        pages, dtype = len(self._places), self._first.dtype.newbyteorder("=")
        super().__init__(pages, self._first.rows, self._first.columns, dtype)

    def _page(self, number: int) -> Array:
        tags, _ = self._tags(self._places[number])
        layout = _Layout.of(tags, self._order)
        if (layout.rows, layout.columns, layout.dtype) != (self._first.rows, self._first.columns, self._first.dtype):
            raise unlike(self._path, number, layout, self._first)
        names = (_TILE_OFFSETS, _TILE_COUNTS) if layout.tiled else (_OFFSETS, _COUNTS)
        starts, counts = (tags.get(name, ()) for name in names)
        if not len(starts) == len(counts) == layout.pieces:
            raise OSError(f"page {number} has {len(starts)} pieces where {layout.pieces} are needed")
        out = np.empty((layout.rows, layout.columns), self.dtype)
        for (rows, columns), start, count in zip(layout.places(), starts, counts, strict=True):
            target = out[rows, columns]
            raw = self._read(start, min(count, layout.most_bytes))
            stored = layout.pixels(raw, layout.block[0] if layout.tiled else len(target))
            target[:] = stored[: target.shape[0], : target.shape[1]]
        return out

    def _chain(self) -> Iterator[int]:
        """Places of the directories of all pages."""
        place = self._number(8, 8) if self._big else self._number(4, 4)
        seen: set[int] = set()
        while place:
            if place in seen or len(seen) >= MOST_PAGES:
                raise OSError("its pages go round in a circle" if place in seen else "it has too many pages")
            seen.add(place)
            yield place
            entries, width = place + (8 if self._big else 2), 20 if self._big else 12
            place = self._number(entries + width * self._count(place), 8 if self._big else 4)

    def _count(self, place: int) -> int:
        count = self._number(place, 8 if self._big else 2)
        if count > _MOST_TAGS:
            raise OSError(f"a page has {count} tags")
        return count

    def _tags(self, place: int) -> tuple[Tags, str]:
        """Whole numbers of a directory by tag, and its description."""
        entry = struct.Struct(f"{self._order}HH{'Q8s' if self._big else 'I4s'}")
        tags: Tags = {}
        description = ""
        listed = self._read(place + (8 if self._big else 2), entry.size * self._count(place))
        for name, kind, count, value in entry.iter_unpack(listed):
            size = count * (1 if kind == _TEXT else struct.calcsize(f"<{_NUMBERS.get(kind, 'B')}"))
            wanted = (kind in _NUMBERS and name in _USED and name not in tags) or (kind, name) == (_TEXT, _DESCRIPTION)
            if not wanted or size > _MOST_TAG_BYTES:
                continue
            far = struct.unpack(f"{self._order}{'Q' if self._big else 'I'}", value)[0]
            raw = value[:size] if size <= len(value) else self._read(far, size)
            if kind == _TEXT:
                description = raw.rstrip(b"\0").decode(errors="replace")
            else:
                tags[name] = struct.unpack(f"{self._order}{count}{_NUMBERS[kind]}", raw)
        return tags, description

    def _number(self, place: int, size: int) -> int:
        raw = self._read(place, size)
        return int.from_bytes(raw, "little" if self._order == "<" else "big")

    def _read(self, place: int, size: int) -> bytes:
        raw = os.pread(self._handle, size, place) if place + size <= os.fstat(self._handle).st_size else b""
        if len(raw) < size:
            raise OSError("it is cut off, or was not written to its end")
        return raw
