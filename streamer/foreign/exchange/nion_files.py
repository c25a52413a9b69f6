"""Nion Swift's own files: ``.ndata`` (a zip with ``data.npy`` and ``metadata.json``) and ``.nhdf`` (HDF5).

Layouts are those of nionswift 16.16: in ``.nhdf`` each item is a data set in the group ``data``, and its attribute
``properties`` is the JSON that describes it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.archives import array_of, members
from ptylive.streamer.foreign.arrays import check_frames
from ptylive.streamer.foreign.nion import MAX_JSON_BYTES, as_described
from ptylive.streamer.storage.hdf5 import attributes, dataset, opened
from ptylive.streamer.storage.scan_file import ScanFile

METADATA = "metadata.json"
_MOST_ITEMS = 1000


@contextmanager
def open_ndata(path: Path) -> Iterator[ScanFile]:
    """Open the item of a ``.ndata``. Raises InputFileError."""
    found = next((member for member in members(path) if member.name == "data"), None)
    if found is None:
        raise InputFileError(f"{path} has no data.npy", "export it from Nion Swift again")
    check_frames(path, found.shape)
    frames, metadata, notes = as_described(_described(path), array_of(path, found), path.name)
    yield ScanFile(frames, metadata, notes=notes)


def _described(path: Path) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            if METADATA not in archive.namelist():
                return {}
            if archive.getinfo(METADATA).file_size > MAX_JSON_BYTES:
                raise InputFileError(f"{path}: its {METADATA} is too large", "export it from Nion Swift again")
            return _mapping(json.loads(archive.read(METADATA)))
    except (OSError, ValueError, RecursionError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: its {METADATA} cannot be read: {text}", "export it again") from None


@contextmanager
def open_nhdf(path: Path) -> Iterator[ScanFile]:
    """Open the only item of three or four axes in a ``.nhdf``. Raises InputFileError."""
    with opened(path) as file:
        group = file.get("data")
        names = list(group)[:_MOST_ITEMS] if isinstance(group, h5py.Group) else []
        items = [(name, found) for name in names if (found := dataset(group, name)) is not None]
        scans = [(name, found) for name, found in items if found.ndim in (3, 4) and 0 not in found.shape]
        if len(scans) != 1:
            problem = f"{path} holds {len(scans)} items of three or four axes"
            raise InputFileError(problem, "export only the scan from Nion Swift")
        ((name, data),) = scans
        try:
            described = _mapping(json.loads(str(attributes(data).get("properties") or "{}")))
        except (ValueError, RecursionError) as error:
            raise InputFileError(f"{path}: properties of data/{name}: {error}", "export it again") from None
        frames, metadata, notes = as_described(described, data, path.name)
        yield ScanFile(frames, metadata, notes=notes)


def _mapping(value: Any) -> Mapping[str, Any]:
    """Properties of an item; those of its data source take precedence, where they are separate."""
    if not isinstance(value, Mapping):
        return {}
    sources = value.get("data_sources")
    source = value.get("data_source") or (sources[0] if isinstance(sources, list) and sources else None)
    return {**value, **source} if isinstance(source, Mapping) else value
