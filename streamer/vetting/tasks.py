"""Tasks of a file worker for scan files: describe one, walk through one, return its frames."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.model import Array

MAX_OBJECTS = 100_000
"""Groups and data sets of one file that are examined."""


def describe_recording(path: Path) -> dict[str, Any]:
    """Describe a native file: {arm, parts, received}: map and arrays of an arm message, packed bits (None: all)."""
    from ptylive.streamer.source import open_recording
    from ptylive.streamer.wire.armmap import arm_parts, arm_to_map

    with open_recording(path) as source:
        received = None if source.received.all() else np.packbits(source.received)
        return {"arm": arm_to_map(source.header), "parts": arm_parts(source.header), "received": received}


def marks(path: Path, exact: bool) -> Array:
    """The marks of a recording, uint32 (frames,); none (0,) where it has none. ``exact``: see `marks_of_frames`."""
    from ptylive.streamer.recorded_marks import read_marks, read_sums

    return read_marks(path) if exact else read_sums(path)


def walk(path: Path, values: Mapping[str, Any] | None = None) -> None:
    """Do everything that opening a scan file does, and read every object, attribute and chunk index of an HDF5 file.

    If this returns, any process can open the file: as a scan, or to refuse it with a reason.
    """
    from ptylive.streamer.source import open_source

    walk_hdf5(path)
    with contextlib.suppress(PtyliveError), open_source(path, values or {}) as source:
        first = np.flatnonzero(source.received)[:1]
        if len(first):
            source.frames(first)


def walk_hdf5(path: Path) -> None:
    """Read every object, attribute and chunk index of an HDF5 file; nothing of a file in another format."""
    import h5py

    from ptylive.streamer.storage.hdf5 import opened

    if not h5py.is_hdf5(path):
        return
    count = 0

    def look(name: str, found: Any) -> None:
        nonlocal count
        count += 1
        if count > MAX_OBJECTS:
            raise InputFileError(f"{path} holds more than {MAX_OBJECTS} objects", "it is damaged, or not a scan file")
        _look_at(found)

    with opened(path) as file:
        _look_at(file)
        file.visititems(look)


def _look_at(found: Any) -> None:
    """Read all attributes, and the chunk index of a data set."""
    import h5py

    for name in found.attrs:
        found.attrs[name]
    if isinstance(found, h5py.Dataset) and found.chunks is not None and not found.is_virtual:
        found.id.get_num_chunks()


def frames(path: Path, first: int, most_bytes: int) -> dict[str, Any]:
    """Frames of a scan file from acquisition number ``first``: {index, frames, next}, next None at the end."""
    from ptylive.streamer.source import open_source

    with open_source(path) as source:
        shape = source.header.detector_shape if source.header.basis.is_raw else (source.frames(np.arange(1)).shape[-1],)
        frame_bytes = int(np.prod(shape)) * np.dtype(source.header.detector.dtype).itemsize
        stop = min(source.frame_count, first + max(1, most_bytes // max(frame_bytes, 1)))
        index = first + np.flatnonzero(source.received[first:stop])
        later = stop if stop < source.frame_count else None
        return {"uid": source.header.uid, "index": index, "frames": source.frames(index), "next": later}
