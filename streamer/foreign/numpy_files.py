"""``.npy``: (Ry, Rx, Qy, Qx), or (N, Qy, Qx) in acquisition order; with the metadata of a Nion ``.json`` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array
from ptylive.schema.small_files import check_is_file
from ptylive.streamer.storage.scan_file import ScanFile


@contextmanager
def open_npy(path: Path) -> Iterator[ScanFile]:
    """Open an array file, mapped into memory, never read whole. Raises InputFileError."""
    from ptylive.streamer.foreign.nion import described_by

    frames = mapped(path)
    beside = path.with_suffix(".json")
    metadata, notes = described_by(beside, frames.shape) if beside.is_file() else ({}, ())
    yield ScanFile(frames, metadata, notes=notes)


def mapped(path: Path) -> Array:
    """Frames (…, Qy, Qx) of a ``.npy`` file. Raises InputFileError."""
    check_is_file(path)
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError, TokenError) as error:
        raise InputFileError(f"{path} is not an array file of numpy: {error}", "save it with numpy.save") from None
    check_frames(path, array.shape)
    return array


def check_frames(path: Path, shape: tuple[int, ...]) -> None:
    """Raise InputFileError for what is not a scan of patterns."""
    if len(shape) not in (3, 4) or 0 in shape:
        size = " x ".join(map(str, shape)) or "a single number"
        raise InputFileError(
            f"{path}: the array is {size}", "it must be (Ry, Rx, Qy, Qx), or (N, Qy, Qx) in acquisition order"
        )
