"""Read patterns of types that the program does not process as a type that can hold their values.

numpy makes int64 of integers by default, and programs of other machines write the most significant byte first: such
files are accepted, and a note reports the type.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ptylive.schema.model import Array
from ptylive.streamer.storage.scan_file import ScanFile, StoredFrames

READ_AS = {
    "|b1": "|u1",
    "<f2": "<f4",
    ">f2": "<f4",
    ">f4": "<f4",
    ">f8": "<f8",
    ">i2": "<i2",
    ">i4": "<i4",
    "<i8": "<f8",
    ">i8": "<f8",
    "<u8": "<f8",
    ">u8": "<f8",
}
"""Type in the file -> type that is read. Counts of 64 bits are exact in a double up to 2^53."""


def readable(file: ScanFile) -> ScanFile:
    """Return the file with patterns of a type that can be processed; other types stay unchanged."""
    stored = file.frames.dtype
    wanted = READ_AS.get(stored.str)
    if wanted is None:
        return file
    pixel = np.dtype(wanted)
    note = f"pixels are {stored.name} ({stored.str}): read as {pixel.name}"
    return replace(file, frames=_Converted(file.frames, pixel), chunk=None, notes=(*file.notes, note))


class _Converted(StoredFrames):
    """Frames that are converted when they are read."""

    def __init__(self, frames: StoredFrames, dtype: np.dtype[Any]) -> None:
        self._frames, self._dtype = frames, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as in the file."""
        return self._frames.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type after conversion."""
        return self._dtype

    def __getitem__(self, selection: Any) -> Array:
        return np.asarray(self._frames[selection]).astype(self._dtype)
