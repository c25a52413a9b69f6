"""Native files (docs/conventions.md): recordings of this program, and every data set of that layout.

A file holds patterns (``/data``, or sparse in ``/events``) or vectors of coefficients and extras (``/coefficients``,
docs/compression.md). PyPty's files, with nothing but a ``data`` of three axes, are such files too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptylive.schema import Basis, InputFileError
from ptylive.schema.metadata import FILE_ARRAYS, NAMES, nearest_name
from ptylive.schema.model import BoolArray
from ptylive.streamer.storage.events import EventSets
from ptylive.streamer.storage.fletcher32 import without_checksum
from ptylive.streamer.storage.hdf5 import (
    attributes,
    dataset,
    external_link,
    group,
    has_checksums,
    link_to_nowhere,
    more_axes,
    opened,
    pattern_arrays,
    stores_bslz4_patterns,
)
from ptylive.streamer.storage.layout import StoredScan
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile
from ptylive.streamer.storage.vectors import VectorSets, extra_names, read_basis

SENT = "sent"
"""Group of the metadata: what the sender sent in its own words, one text per attribute."""
_MOST_LISTED = 4
DAMAGED_HINT = "restore the file from a copy, or save its undamaged part: ptylive convert FILE OUT"


@contextmanager
def open_native(path: Path) -> Iterator[ScanFile]:
    """Open a native file. Raises InputFileError: missing, not HDF5, no ``/data``, wrong dimensions, data elsewhere."""
    with opened(path) as file:
        vectors = VectorSets.find(path, file) if "data" not in file else None
        events = EventSets.find(path, file) if "data" not in file and vectors is None else None
        data = vectors or events or _data(path, file)
        metadata = group(file, "metadata")
        basis, masks = (Basis(), None) if vectors is None else read_basis(path, file)
        arrays = {name: dataset(file, f"metadata/{name}") for name in FILE_ARRAYS}
        if vectors is not None:
            basis = basis.model_copy(update={"extra": extra_names(path, vectors)})
            arrays["masks"] = masks
        stated = {} if metadata is None else attributes(metadata)
        leading = data.shape[:-2] if vectors is None else data.shape[:-1]
        yield ScanFile(
            frames=data,
            metadata=stated,
            arrays={name: array for name, array in arrays.items() if array is not None},
            received=_received(path, file, math.prod(leading)),
            basis=basis,
            chunk=_chunks(path, data, StoredScan(leading)) if vectors is None and events is None else None,
            events=None if events is None else events.select,
            notes=(*_misplaced(file, data, stated), *(() if metadata is None else _left_out(stated, metadata))),
            sent={} if metadata is None or (sent := group(metadata, SENT)) is None else attributes(sent),
        )


def _misplaced(file: Any, data: Any, stated: Mapping[str, Any]) -> tuple[str, ...]:
    """Notes on values in attributes of the file itself, or of its patterns, which are ignored."""
    places = [("the file", file), *([("/data", data)] if isinstance(data, h5py.Dataset) else [])]
    return tuple(
        f"the attribute {name} of {place} is ignored; only those of the group /metadata are read{CHECK_IT}"
        for place, found in places
        for name in found.attrs
        if name in NAMES and name not in stated
    )


def _left_out(stated: Mapping[str, Any], metadata: Any) -> tuple[str, ...]:
    """Notes on possible metadata that is ignored: attributes with nearly a known name, data sets with a known one."""
    notes = []
    for name in stated:
        if (intended := nearest_name(name)) is not None and intended not in stated:
            notes.append(f"the attribute {name} of /metadata is unknown and ignored; {intended} is known: check it")
    for name in metadata:
        if name in NAMES and name not in stated:
            notes.append(f"/metadata/{name} is a data set and ignored; only attributes of /metadata are read: check it")
    return tuple(notes)


def _data(path: Path, file: Any) -> Any:
    data = dataset(file, "data")
    if data is None and "calibration" in file:
        raise InputFileError(f"{path} holds results and no patterns", f"give the scan: {_scan_of(file)}")
    if data is None:
        raise _no_data(path, file)
    if data.ndim not in (3, 4) or 0 in data.shape:
        shape = " x ".join(map(str, data.shape)) or "a single number"
        if data.ndim == 2:
            raise InputFileError(
                f"{path}: /data is {shape}",
                "it must be (Ry, Rx, Qy, Qx) or (N, Qy, Qx); readings of virtual detectors need --set masks=FILE",
            )
        raise InputFileError(
            f"{path}: /data is {shape}", "it must be (Ry, Rx, Qy, Qx), or (N, Qy, Qx) in acquisition order"
        )
    return data


def _no_data(path: Path, file: Any) -> InputFileError:
    """Return the error for a file without recognised patterns: which arrays it has, and how to name the right one."""
    known = "give a native file, or one of those in docs/files.md"
    names = pattern_arrays(file)
    if not names:
        if leads := link_to_nowhere(file, "data"):
            problem = f"{path} has no data set /data: it is a link to {leads}, which is not in the file"
            return InputFileError(problem, "correct the link, or give the file that holds the data")
        if more := more_axes(file):
            problem = f"{path} has no data set /data, but {more}"
            return InputFileError(problem, "store one scan, of three or four axes: (Ry, Rx, Qy, Qx) or (N, Qy, Qx)")
        linked, elsewhere = external_link(file)
        if linked:
            problem = f"{path} has no data set /data, but /{linked} is a link to {elsewhere}, which is not followed"
            return InputFileError(problem, f"give {elsewhere}, if that holds the scan; otherwise {known}")
        return InputFileError(f"{path} has no data set /data", known)
    listed = ", ".join(f"/{name} ({' x '.join(map(str, file[name].shape))})" for name in names[:_MOST_LISTED])
    link = f'if that is the scan, link it to the name dp: with h5py, file["dp"] = file["{names[0]}"]'
    return InputFileError(f"{path} has no data set /data, but {listed}", f"{link}; otherwise {known}")


def _scan_of(results: Any) -> str:
    """Name of the scan from which a results file was made, as stored in it."""
    named = attributes(results["settings"]).get("scan_file") if "settings" in results else None
    return named if isinstance(named, str) and named else "the file they were made from"


def _chunks(path: Path, data: Any, stored: StoredScan) -> Callable[[int], bytes] | None:
    """Return a function that reads single patterns as stored in the file, where they are bslz4 parts."""
    if not stores_bslz4_patterns(data):
        return None

    checked = has_checksums(data)

    def chunk(number: int) -> bytes:
        return read_chunk(path, data, (*stored.at(number), 0, 0), checked=checked)

    return chunk


def read_chunk(path: Path, data: Any, position: tuple[int, ...], *, checked: bool) -> bytes:
    """Return a compressed chunk of a data set unchanged, ``checked``: without the checksum behind it.

    Raises InputFileError for one that was stored uncompressed, or that does not match its checksum.
    """
    mask, chunk = data.id.read_direct_chunk(position)
    if mask:
        raise InputFileError(f"{path}: {_frame_at(position)} was stored uncompressed", "replay it with codec none")
    if not checked:
        return bytes(chunk)
    try:
        return without_checksum(bytes(chunk))
    except ValueError:
        raise InputFileError(f"{path}: {_frame_at(position)} is damaged", DAMAGED_HINT) from None


def _frame_at(position: tuple[int, ...]) -> str:
    """Name a frame by the position of its chunk."""
    return f"frame ({', '.join(map(str, position[:-2]))})"


def _received(path: Path, file: Any, frames: int) -> BoolArray | None:
    found = dataset(file, "metadata/received")
    if found is None:
        return None
    if math.prod(found.shape) != frames:
        raise InputFileError(
            f"{path}: /metadata/received has shape {found.shape} for {frames} frames", "remove or correct it"
        )
    return np.asarray(found[()], dtype=bool).ravel()
