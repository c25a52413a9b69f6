"""TIFF stacks: a pattern on each page, or ImageJ's large stacks, whose one page stands for all.

Pages are read one by one with Pillow; the files contain nothing about positions or optics.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array
from ptylive.streamer.storage.scan_file import ScanFile

MOST_PIXELS = 2**26
"""Limit on a page."""
MOST_PAGES = 10**7
_DTYPES = {"L": "u1", "I;16": "u2", "I;16B": "u2", "I;16L": "u2", "I": "i4", "F": "f4"}
"""Types of Pillow's modes."""
_DESCRIPTION, _COMPRESSION, _OFFSETS, _BITS, _FORMAT = 270, 259, 273, 258, 339
_KINDS = {1: "u", 2: "i", 3: "f"}
_HINT = "save a stack of grey pages of at most 32 bits, uncompressed or as ImageJ does"


class Pages:
    """Pages (N, rows, columns) of a file, read when they are accessed, by one thread at a time."""

    def __init__(self, image: Any, pages: int) -> None:
        self._image, self._lock = image, threading.Lock()
        self._size, self._mode = image.size, image.mode
        self.shape = (pages, image.size[1], image.size[0])
        self.dtype: np.dtype[Any] = np.dtype(_DTYPES[image.mode])

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
        with self._lock:
            try:
                self._image.seek(number)
                if self._image.size != self._size or self._image.mode != self._mode:
                    raise OSError(f"page {number} differs in size or type from the first")
                return np.asarray(self._image).astype(self.dtype)
            except OSError:
                raise
            except Exception as error:  # any exception of a decoder on damaged bytes counts as damage
                raise OSError(f"page {number}: {error}") from None


@contextmanager
def open_tiff(path: Path) -> Iterator[ScanFile]:
    """Open a stack of grey pages of one size. Raises InputFileError."""
    from PIL import Image

    check_is_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # about metadata that are cut off
            image = Image.open(path, formats=("TIFF",))
            mapped = _imagej(path, image)
            pages = 1 if mapped is not None else int(getattr(image, "n_frames", 1))
    except InputFileError:
        raise
    except Exception as error:  # a third-party decoder on a third-party file: any exception becomes one line here
        text = " ".join(str(error).replace(f" {str(path)!r}", "").split()).rstrip(".") or type(error).__name__
        raise InputFileError(f"{path} is not a readable TIFF: {text}", _HINT) from None
    with image:
        if mapped is not None:
            yield ScanFile(mapped, notes=("ImageJ stack: its pages follow the first",))
            return
        if image.mode not in _DTYPES:
            raise InputFileError(f"{path}: its pages are {image.mode}, not greyscale", _HINT)
        if image.size[0] * image.size[1] > MOST_PIXELS or pages > MOST_PAGES:
            raise InputFileError(f"{path}: {pages} pages of {image.size[1]} x {image.size[0]} are not a scan", _HINT)
        yield ScanFile(Pages(image, pages))


def _imagej(path: Path, image: Any) -> Array | None:
    """Map consecutive pages that are counted only in the description; None for any other file."""
    tags = image.tag_v2
    images = re.search(r"images=(\d+)", str(tags.get(_DESCRIPTION, ""))[:2000])
    count = int(images[1]) if images else 1
    if not str(tags.get(_DESCRIPTION, "")).startswith("ImageJ=") or count < 2 or tags.get(_COMPRESSION, 1) != 1:
        return None
    if getattr(image, "n_frames", 1) != 1 or len(tags.get(_OFFSETS, ())) < 1 or image.mode not in _DTYPES:
        return None
    bits = tags.get(_BITS, (8,))[0]
    kind = _KINDS.get((tags.get(_FORMAT) or (1,))[0], "u")
    order = ">" if tags.prefix == b"MM" else "<"
    dtype, shape = np.dtype(f"{order}{kind}{bits // 8}"), (count, image.size[1], image.size[0])
    start = int(tags[_OFFSETS][0])
    if start + count * shape[1] * shape[2] * dtype.itemsize > path.stat().st_size:
        raise InputFileError(f"{path} is cut off: it announces {count} pages", "copy it again")
    return np.memmap(path, dtype, "r", start, shape)
