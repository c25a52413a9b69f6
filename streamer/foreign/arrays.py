"""Arrays of patterns in ``.npy`` files, and the shapes that a scan can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.file_kinds import kind_of
from ptylive.schema.files.npy import UNREADABLE
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array
from ptylive.streamer.foreign.axes_order import ReorderedFrames
from ptylive.streamer.storage.file_frames import FileFrames
from ptylive.streamer.storage.scan_file import StoredFrames


def stored_frames(path: Path) -> StoredFrames:
    """Return the frames (…, Qy, Qx) of a ``.npy`` file. Raises InputFileError."""
    array = mapped_array(path)
    check_frames(path, array.shape)
    return unmapped(path, array)


def unmapped(path: Path, array: Any) -> StoredFrames:
    """Return the frames of a mapped array as they are read from its file; in Fortran's order, patterns are spread over
    the file. Raises InputFileError.
    """
    if array.dtype.hasobject:
        return array  # type: ignore[no-any-return]
    try:
        if array.flags.c_contiguous:
            return FileFrames(path, array.dtype, array.offset, array.shape)
        frames = FileFrames(path, array.dtype, array.offset, array.shape[::-1])
        return ReorderedFrames(frames, tuple(reversed(range(array.ndim))))
    except OSError as error:
        raise InputFileError(f"{path}: {error.strerror}", "check its permissions") from None


def mapped_array(path: Path) -> Array:
    """Return the array of a ``.npy`` file, of any shape. Raises InputFileError."""
    check_is_file(path)
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        reason = str(error).rstrip(".")
        if "greater than file size" in reason:
            problem = f"{path} is cut short: it is smaller than the array that it announces"
            raise InputFileError(problem, "wait until it is written, or copy it again") from None
        if (kind := kind_of(path, ".npy")) is not None:
            raise InputFileError(f"{path} is not an array file of numpy, but {kind[0]}", kind[1]) from None
        raise InputFileError(
            f"{path} is not an array file of numpy: {reason}", "save an array of numbers with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputFileError(f"{path} is an archive of arrays", "save the right one with numpy.save")
    return array


def check_frames(path: Path, shape: tuple[int, ...]) -> None:
    """Raise InputFileError for a shape that is not that of a scan of patterns."""
    if len(shape) not in (3, 4) or 0 in shape:
        size = " x ".join(map(str, shape)) or "a single number"
        raise InputFileError(
            f"{path}: the array is {size}", "it must be (Ry, Rx, Qy, Qx), or (N, Qy, Qx) in acquisition order"
        )
