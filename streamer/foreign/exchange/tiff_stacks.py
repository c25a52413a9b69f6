"""TIFF stacks: a pattern on each page, or ImageJ's large stacks, whose one page stands for all.

Pages are read one by one with Pillow, or without it where it lacks their type; the files contain nothing about
positions or optics.
"""

from __future__ import annotations

import ctypes.util
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.file_kinds import kind_of
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array
from ptylive.streamer.foreign.exchange.tiff_pages import (
    MOST_PAGES,
    MOST_PIXELS,
    PageStack,
    RawPages,
    bits_in_words,
    unlike,
)
from ptylive.streamer.storage.file_frames import FileFrames
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile

_MODES = ("L", "I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes of grey pages. "L" and "I" are signed or not, which only the tags say."""
_ONE_BIT = "1"
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _WHITE_OR_BLACK, _DESCRIPTION, _OFFSETS = 256, 257, 258, 259, 262, 270, 273
_ORIENTATION, _ROWS_PER_STRIP, _FORMAT, _DEPTH = 274, 278, 339, 32997
_WHITE_IS_ZERO = 0
_UP_TO_A_BYTE, _NEVER_SWAPPED = {*range(1, 9)}, "I;16B"
_ON_ITS_SIDE = (5, 6, 7, 8)
"""Orientations in which rows are columns: Pillow gives such pages the wrong shape."""
_KINDS = {1: "u", 2: "i", 3: "f"}
_BYTES = {8: 1, 12: 2, 16: 2, 32: 4}
"""Bits of a pixel -> bytes when read."""
_HINT = "save a stack of grey pages of 8 bits or more, uncompressed or deflated, or as ImageJ does"


@dataclass(frozen=True)
class _Page:
    """Size and pixels of a page as stored: rows, columns, type, and whether Pillow inverts them."""

    rows: int
    columns: int
    dtype: str
    inverted: bool

    @classmethod
    def of(cls, image: Any) -> _Page:
        """Describe the page on which ``image`` is, by its tags. Raises OSError for one that is not grey."""
        tags = image.tag_v2
        bits, kind = tags.get(_BITS, (1,)), _KINDS.get((tags.get(_FORMAT) or (1,))[0])
        if image.mode not in (*_MODES, _ONE_BIT):
            raise OSError(f"its pages are {image.mode}, not greyscale")
        if len(bits) != 1 or bits[0] not in _BYTES or kind is None:
            raise OSError(f"its pages have {bits_in_words(bits)} per pixel")
        if tags.get(_DEPTH, 1) != 1:
            raise OSError(f"its pages are volumes of {tags[_DEPTH]} layers")
        if tags.get(_ORIENTATION, 1) in _ON_ITS_SIDE:
            raise OSError(f"its pages lie on their side (orientation {tags[_ORIENTATION]})")
        rows, columns = _whole(tags, _LENGTH), _whole(tags, _WIDTH)
        held = len(tags.get(_OFFSETS, ())) * _whole(tags, _ROWS_PER_STRIP, rows)
        if 0 < held < rows:  # Pillow fills the others with zeros
            raise OSError(f"its pages have {rows} rows, and strips for {held}")
        inverted = image.mode == "L" and tags.get(_WHITE_OR_BLACK) == _WHITE_IS_ZERO
        return cls(rows, columns, f"{kind}{_BYTES[bits[0]]}", inverted)

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} {np.dtype(self.dtype).name}"


def _whole(tags: Any, name: int, otherwise: int = 0) -> int:
    """The number of a tag; ``otherwise``, if there is none. Raises OSError for anything but a whole number."""
    found = tags.get(name, otherwise)
    if not isinstance(found, int):
        raise OSError(f"its pages have no whole number in the tag {name}")
    return found


class Pages(PageStack):
    """Pages (N, rows, columns) of a file, decoded by Pillow in one thread at a time."""

    def __init__(self, path: Path, image: Any, first: _Page, pages: int) -> None:
        self._path, self._image, self._first, self._lock = path, image, first, threading.Lock()
        self._damaged: dict[int, str] = {}
        """Why pages could not be read: asked again for the one that it has just failed on, Pillow returns zeros."""
        super().__init__(pages, first.rows, first.columns, np.dtype(first.dtype))

    def _page(self, number: int) -> Array:
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tags that are damaged, which are not used
            if number in self._damaged:
                raise OSError(self._damaged[number])
            try:
                self._image.seek(number)
                page = _Page.of(self._image)
                if page == self._first:
                    return self._pixels()
            except Exception as error:  # any exception of a decoder on damaged bytes counts as damage
                self._damaged[number] = str(error) if isinstance(error, OSError) else f"page {number}: {error}"
                raise OSError(self._damaged[number]) from None
        raise unlike(self._path, number, page, self._first)

    def _pixels(self) -> Array:
        """Pixels of the page as stored. Pillow would turn some pages as their orientation says, and others not."""
        self._image.getexif().pop(_ORIENTATION, None)
        pixels = np.asarray(self._image)
        return (~pixels if self._first.inverted else pixels).astype(self.dtype)


@cache
def silence_libtiff() -> None:
    """Let libtiff, with which Pillow decodes compressed pages, print nothing: the exceptions say what is wrong.

    Pillow brings its own copy with the wheels for Linux and macOS; other installations use the system's.
    """
    import PIL

    package = Path(PIL.__file__).parent
    own = [*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")]
    system = ctypes.util.find_library("tiff")
    for name in [str(path) for path in own] or ([] if system is None else [system]):
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(name)
            for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                setter.restype, setter.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
                setter(None)


@contextmanager
def open_tiff(path: Path) -> Iterator[ScanFile]:
    """Open a stack of grey pages of one size. Raises InputFileError."""
    from PIL import Image

    check_is_file(path)
    silence_libtiff()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # about metadata that are cut off
            image = Image.open(path, formats=("TIFF",))
            stack = _counted(path, image)
            pages = 1 if stack is not None else int(getattr(image, "n_frames", 1))
    except InputFileError:
        raise
    except Exception:  # whatever a third-party decoder raises: its pages may be of a kind that it does not have
        yield _raw(path, "is not a readable TIFF: ")
        return
    with image:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about tags with too many values
            found = _decoded(path, image, stack, pages)
        yield found


def _decoded(path: Path, image: Any, stack: FileFrames | None, pages: int) -> ScanFile:
    """Pages that Pillow decodes, or that lie in the file as a ``stack``. Raises InputFileError."""
    if _may_be_swapped(image):
        return _raw(path, "")
    if stack is not None:
        metadata, notes = _scan_shape(_description(image), stack.shape)
        return ScanFile(stack, metadata, notes=("its pages follow the first, without tags of their own", *notes))
    try:
        first = _Page.of(image)
    except (OSError, LookupError) as error:
        raise InputFileError(f"{path}: {error}", _HINT) from None
    if first.rows * first.columns > MOST_PIXELS or pages > MOST_PAGES:
        raise InputFileError(f"{path}: {pages} pages of {first.rows} x {first.columns} are not a scan", _HINT)
    metadata, notes = _scan_shape(_description(image), (pages, first.rows, first.columns))
    return ScanFile(Pages(path, image, first, pages), metadata, notes=notes)


def _may_be_swapped(image: Any) -> bool:
    """Whether Pillow may return the pages with the bytes of each number in reverse: version 13 does for some types."""
    tags = image.tag_v2
    may_be = tags.prefix == b"MM" and tags.get(_COMPRESSION, 1) != 1 and set(tags.get(_BITS, (1,))) - _UP_TO_A_BYTE
    return bool(may_be and image.mode != _NEVER_SWAPPED)


def _raw(path: Path, problem: str) -> ScanFile:
    """Open pages that Pillow cannot decode. Raises InputFileError."""
    try:
        pages = RawPages(path)
    except OSError as error:
        if (kind := kind_of(path, ".tif")) is not None:
            raise InputFileError(f"{path} is not a TIFF, but {kind[0]}", kind[1]) from None
        raise InputFileError(f"{path}{' ' if problem else ': '}{problem}{error}", _HINT) from None
    if pages.shape[0] == 1 and (count := _announced(pages.description)) > 1:
        raise InputFileError(f"{path} announces {count} pages and lists only the first", _HINT)
    metadata, notes = _scan_shape(pages.description, pages.shape)
    return ScanFile(pages, metadata, notes=notes)


def _scan_shape(text: str, shape: tuple[int, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata and a note on the rows and columns of the scan, where the description of the first page states them for
    as many pages: the shape of an array with four axes (tifffile), or two axes of a hyperstack (ImageJ).
    """
    if text.startswith("ImageJ="):
        counts = dict(re.findall(r"^(frames|slices|channels)=(\d{1,9})$", text, re.MULTILINE))
        found = [n for name in ("frames", "slices", "channels") if (n := int(counts.get(name, 1))) > 1]
        note = f"scan_shape {' x '.join(map(str, found))} is guessed from the axes of the hyperstack{CHECK_IT}"
    else:
        array = _saved_array(text)
        found = array[:2] if len(array) == 4 and tuple(array[2:]) == shape[1:] else []
        note = f"scan_shape {' x '.join(map(str, found))} is that of the array that was saved"
    if len(found) != 2 or found[0] * found[1] != shape[0]:
        return {}, ()
    return {"scan_shape": found}, (note,)


def _announced(text: str) -> int:
    """Number of pages by the description of the first: ImageJ's, or that of an array that tifffile saved truncated."""
    if text.startswith("ImageJ="):
        images = re.search(r"images=(\d{1,18})", text[:2000])
        return int(images[1]) if images else 1
    return math.prod(_saved_array(text)[:-2]) if '"truncated": true' in text else 1


def _saved_array(text: str) -> list[int]:
    """Shape of the array that tifffile noted in a description; empty for none."""
    stated = re.search(r'"shape": \[([\d, ]{1,200})\]', text[:2000])
    return [int(n) for n in stated[1].split(",") if n.strip()] if stated else []


def _description(image: Any) -> str:
    return str(image.tag_v2.get(_DESCRIPTION, ""))


def _counted(path: Path, image: Any) -> FileFrames | None:
    """Consecutive pages, which only the description of the first counts; None for any other file."""
    tags = image.tag_v2
    count = _announced(_description(image))
    if count < 2 or tags.get(_COMPRESSION, 1) != 1:
        return None
    if getattr(image, "n_frames", 1) != 1 or len(tags.get(_OFFSETS, ())) < 1 or image.mode not in _MODES:
        return None
    bits = tags.get(_BITS, (8,))[0]
    kind = _KINDS.get((tags.get(_FORMAT) or (1,))[0], "u")
    order = ">" if tags.prefix == b"MM" else "<"
    dtype, shape = np.dtype(f"{order}{kind}{bits // 8}"), (count, image.size[1], image.size[0])
    start = int(tags[_OFFSETS][0])
    if start + count * shape[1] * shape[2] * dtype.itemsize > path.stat().st_size:
        raise InputFileError(f"{path} is cut off: it announces {count} pages", "copy it again")
    return FileFrames(path, dtype, start, shape)
