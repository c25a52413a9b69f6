"""TIFF stacks: a pattern on each page, or ImageJ's large stacks, whose one page stands for all.

Pages are read one by one with Pillow; the files contain nothing about positions or optics.
"""

from __future__ import annotations

import ctypes.util
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
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array
from ptylive.streamer.storage.file_frames import FileFrames
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile

MOST_PIXELS = 2**26
"""Limit on a page."""
MOST_PAGES = 10**7
_MODES = ("L", "I;16", "I;16B", "I;16L", "I", "F")
"""Pillow's modes of grey pages. "L" and "I" are signed or not, which only the tags say."""
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _WHITE_OR_BLACK, _DESCRIPTION, _OFFSETS = 256, 257, 258, 259, 262, 270, 273
_ORIENTATION, _FORMAT, _DEPTH = 274, 339, 32997
_WHITE_IS_ZERO = 0
_ON_ITS_SIDE = (5, 6, 7, 8)
"""Orientations in which rows are columns: Pillow gives such pages the wrong shape."""
_KINDS = {1: "u", 2: "i", 3: "f"}
_BYTES = {8: 1, 12: 2, 16: 2, 32: 4}
"""Bits of a pixel -> bytes when read."""
_HINT = "save a stack of grey pages of at most 32 bits, uncompressed or as ImageJ does"


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
        if image.mode not in _MODES:
            raise OSError(f"its pages are {image.mode}, not greyscale")
        if len(bits) != 1 or bits[0] not in _BYTES or kind is None:
            raise OSError(f"its pages have {' + '.join(map(str, bits))} bits per pixel")
        if tags.get(_DEPTH, 1) != 1:
            raise OSError(f"its pages are volumes of {tags[_DEPTH]} layers")
        if tags.get(_ORIENTATION, 1) in _ON_ITS_SIDE:
            raise OSError(f"its pages lie on their side (orientation {tags[_ORIENTATION]})")
        inverted = image.mode == "L" and tags.get(_WHITE_OR_BLACK) == _WHITE_IS_ZERO
        return cls(tags[_LENGTH], tags[_WIDTH], f"{kind}{_BYTES[bits[0]]}", inverted)

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} {np.dtype(self.dtype).name}"


class Pages:
    """Pages (N, rows, columns) of a file, read when they are accessed, by one thread at a time."""

    def __init__(self, path: Path, image: Any, first: _Page, pages: int) -> None:
        self._path, self._image, self._first, self._lock = path, image, first, threading.Lock()
        self.shape = (pages, first.rows, first.columns)
        self.dtype: np.dtype[Any] = np.dtype(first.dtype)

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
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about tags that are damaged, which are not used
            try:
                self._image.seek(number)
                page = _Page.of(self._image)
                if page == self._first:
                    return self._pixels()
            except OSError:
                raise
            except Exception as error:  # any exception of a decoder on damaged bytes counts as damage
                raise OSError(f"page {number}: {error}") from None
        raise InputFileError(
            f"{self._path}: page {number} is {page}, the first is {self._first}",
            "save a stack of pages of one size and type",
        )

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
            stack = _imagej(path, image)
            pages = 1 if stack is not None else int(getattr(image, "n_frames", 1))
    except InputFileError:
        raise
    except Exception as error:  # a third-party decoder on a third-party file: any exception becomes one line here
        text = " ".join(str(error).replace(f" {str(path)!r}", "").split()).rstrip(".") or type(error).__name__
        raise InputFileError(f"{path} is not a readable TIFF: {text}", _HINT) from None
    with image:
        if stack is not None:
            metadata, notes = _scan_shape(image, stack.shape)
            yield ScanFile(stack, metadata, notes=("ImageJ stack: its pages follow the first", *notes))
            return
        try:
            first = _Page.of(image)
        except (OSError, LookupError) as error:
            raise InputFileError(f"{path}: {error}", _HINT) from None
        if first.rows * first.columns > MOST_PIXELS or pages > MOST_PAGES:
            raise InputFileError(f"{path}: {pages} pages of {first.rows} x {first.columns} are not a scan", _HINT)
        metadata, notes = _scan_shape(image, (pages, first.rows, first.columns))
        yield ScanFile(Pages(path, image, first, pages), metadata, notes=notes)


def _scan_shape(image: Any, shape: tuple[int, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Metadata and a note on the rows and columns of the scan, where the description of the first page states them for
    as many pages: the shape of an array with four axes (tifffile), or two axes of a hyperstack (ImageJ).
    """
    text = str(image.tag_v2.get(_DESCRIPTION, ""))[:2000]
    if text.startswith("ImageJ="):
        counts = dict(re.findall(r"^(frames|slices|channels)=(\d{1,9})$", text, re.MULTILINE))
        found = [n for name in ("frames", "slices", "channels") if (n := int(counts.get(name, 1))) > 1]
        note = f"scan_shape {' x '.join(map(str, found))} is guessed from the axes of the hyperstack{CHECK_IT}"
    else:
        stated = re.search(r'"shape": \[([\d, ]+)\]', text)
        array = [int(n) for n in stated[1].split(",") if n.strip()] if stated else []
        found = array[:2] if len(array) == 4 and tuple(array[2:]) == shape[1:] else []
        note = f"scan_shape {' x '.join(map(str, found))} is that of the array that was saved"
    if len(found) != 2 or found[0] * found[1] != shape[0]:
        return {}, ()
    return {"scan_shape": found}, (note,)


def _imagej(path: Path, image: Any) -> FileFrames | None:
    """Consecutive pages that are counted only in the description; None for any other file."""
    tags = image.tag_v2
    images = re.search(r"images=(\d+)", str(tags.get(_DESCRIPTION, ""))[:2000])
    count = int(images[1]) if images else 1
    if not str(tags.get(_DESCRIPTION, "")).startswith("ImageJ=") or count < 2 or tags.get(_COMPRESSION, 1) != 1:
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
