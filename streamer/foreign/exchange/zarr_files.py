"""zarr 2 folders with the one array of three or four axes, through the package zarr (extra ``import``).

The contents of ``.zarray`` are checked before zarr sees them: numbers only, no filters (one of them unpickles), chunks
that fit into memory.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import read_bytes
from ptylive.streamer.foreign.arrays import check_frames
from ptylive.streamer.foreign.rosetta import LazyFrames
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile

MOST_TEXT = 2**20
MOST_CHUNK_BYTES = 2**30
MOST_ARRAYS = 1000
COMPRESSORS = ("blosc", "zlib", "gzip", "bz2", "lzma", "lz4", "zstd")
_DEEPEST = 4


@contextmanager
def open_zarr(path: Path) -> Iterator[ScanFile]:
    """Open a zarr 2 folder, an array or a group with one. Raises InputFileError."""
    if not path.is_dir():
        raise InputFileError(f"{path} is not a zarr folder", "give the unpacked folder itself")
    found = [folder for folder in _arrays(path) if len(_described(folder)["shape"]) in (3, 4)]
    if len(found) != 1:
        newer = (path / "zarr.json").is_file()
        what = f"{len(found)} arrays of three or four axes" + (
            " (it is zarr 3, which is not supported)" if newer else ""
        )
        raise InputFileError(f"{path} holds {what}", "save only the patterns, with zarr_format=2")
    _check(found[0], _described(found[0]))
    try:
        import zarr
    except ImportError as error:
        raise InputFileError(f"{path}: reading zarr needs {error.name}", "pip install 'ptylive[import]'") from None
    try:
        array: Any = zarr.open_array(str(found[0]), mode="r")
    except Exception as error:  # any exception of the package on a third-party folder becomes one line here
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: zarr cannot read it ({text})", "save it again with zarr_format=2") from None
    check_frames(path, array.shape)
    name = found[0].relative_to(path).as_posix()
    notes = () if name == "." else (f"patterns read from {name}",)
    yield ScanFile(LazyFrames(array), notes=(*notes, *_missing(found[0], array)))


def _missing(folder: Path, array: Any) -> Iterator[str]:
    """A note on chunks without a file: of a folder that was not copied completely, or left out because they are empty.

    zarr returns a fill value there, which is a possible count.
    """
    stored = sum(name[:1].isdigit() for _, _, names in os.walk(folder) for name in names)
    if stored < array.nchunks:
        lost = array.nchunks - stored
        yield f"{lost} of {array.nchunks} chunks are not in the folder, patterns there are {array.fill_value}{CHECK_IT}"


def _arrays(path: Path) -> list[Path]:
    """Folders with ``.zarray``, this one or below, without links."""
    found: list[Path] = []
    waiting = [(path, 0)]
    while waiting and len(found) < MOST_ARRAYS:
        folder, depth = waiting.pop()
        if (folder / ".zarray").is_file():
            found.append(folder)
        elif depth < _DEEPEST:
            inside = [
                child for child in sorted(folder.iterdir())[:MOST_ARRAYS] if child.is_dir() and not child.is_symlink()
            ]
            waiting += [(child, depth + 1) for child in inside]
    return found


def _described(folder: Path) -> Mapping[str, Any]:
    """Read ``.zarray``. Raises InputFileError if it is invalid."""
    try:
        metadata = json.loads(read_bytes(folder / ".zarray", MOST_TEXT))
        shape = [int(n) for n in metadata["shape"]]
        chunks = [int(n) for n in metadata["chunks"]]
        if metadata["zarr_format"] != 2 or len(shape) != len(chunks) or min([1, *shape, *chunks]) < 0:
            raise ValueError("its shape and chunks do not match")
        return {**metadata, "shape": shape, "chunks": chunks}
    except (OSError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{folder}/.zarray: {text}", "save it again with zarr_format=2") from None


def _check(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Raise InputFileError for objects, filters, unknown compression, and chunks that are too large."""
    try:
        dtype = np.dtype(str(metadata.get("dtype")))
    except TypeError:
        dtype = np.dtype(object)
    compressor = metadata.get("compressor")
    named = compressor.get("id") if isinstance(compressor, Mapping) else None
    if dtype.kind not in "biuf" or metadata.get("filters"):
        raise InputFileError(f"{folder} does not hold plain numbers", "save numbers, without filters")
    if compressor is not None and named not in COMPRESSORS:
        raise InputFileError(f"{folder} is compressed with {str(named)[:40]!r}", f"supported: {', '.join(COMPRESSORS)}")
    if math.prod(metadata["chunks"]) * dtype.itemsize > MOST_CHUNK_BYTES:
        raise InputFileError(f"{folder} has chunks of {metadata['chunks']}", "save it in chunks of a few patterns")
