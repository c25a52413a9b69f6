"""Open HDF5 files of any origin with care: nothing outside the file is read, and errors name file and remedy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the compression filters)
import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.errors import open_elsewhere
from ptylive.schema.files.file_kinds import kind_of
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array

BITSHUFFLE_FILTER = 32008
_BITSHUFFLE_LZ4 = 2
_CHUNK_CACHE_BYTES = 64 * 2**20
_MOST_NAMES = 10_000
_KNOWN = "docs/files.md lists the files that open; one of them is an array (Ry, Rx, Qy, Qx) saved with numpy.save"
_CUT_SHORT = "is the program that writes it finished? otherwise copy it again and compare sizes"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file read-only. Raises InputFileError when it is missing, unreadable or no HDF5 file."""
    check_is_file(path, "name the .h5 file itself")
    try:
        file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
    except OSError as error:
        if found := open_elsewhere(path, error):
            raise found from None
        if h5py.is_hdf5(path):
            raise InputFileError(f"{path} is damaged, cut short, or was not closed properly", _CUT_SHORT) from None
        if (kind := kind_of(path, ".h5")) is not None:
            raise InputFileError(f"{path} is not an HDF5 file, but {kind[0]}", kind[1]) from None
        raise InputFileError(f"{path} is not an HDF5 file, or was not closed properly", _KNOWN) from None
    with file:
        yield file


def dataset(file: Any, name: str) -> Any:
    """Return a data set stored in this very file, or None. Raises InputFileError if its data lie elsewhere."""
    if isinstance(entry(file, name, getlink=True), h5py.ExternalLink):
        raise _external_error(file, name, "an external link")
    found = entry(file, name)
    if not isinstance(found, h5py.Dataset):
        return None
    if found.file.filename != file.file.filename:
        raise _external_error(file, name, "a link to another file")
    if found.shape is None:
        raise InputFileError(f"{file.file.filename}: {found.name} holds nothing", "give a file in which it was saved")
    if found.is_virtual:
        raise _external_error(file, name, "a virtual data set")
    if found.external:
        raise _external_error(file, name, "external storage")
    _check_filters(file, name, found)
    return found


def group(file: Any, name: str) -> Any:
    """Return a group stored in this very file, or None. Raises InputFileError if it lies elsewhere, or is no group."""
    link, place = entry(file, name, getlink=True), f"{file.name.rstrip('/')}/{name}"
    hint = f"store the values as attributes of a group {place}, as docs/conventions.md has them"
    if isinstance(link, h5py.ExternalLink):
        raise InputFileError(f"{file.file.filename}: {place} is a link to {link.filename}", hint)
    found = entry(file, name)
    if found is not None and not isinstance(found, h5py.Group):
        raise InputFileError(f"{file.file.filename}: {place} is not a group", hint)
    return found


def link_to_nowhere(file: Any, name: str) -> str:
    """Return where a soft link of this name leads, if nothing is there; empty otherwise."""
    link = entry(file, name, getlink=True)
    return str(link.path) if isinstance(link, h5py.SoftLink) and entry(file, name) is None else ""


def entry(file: Any, name: str, *, getlink: bool = False) -> Any:
    """Return what has this name, or the link to it; None for nothing, and where links lead round in a circle."""
    try:
        return file.get(name, getlink=getlink)
    except (RuntimeError, ValueError):  # ValueError: not a possible name
        return None


def external_link(file: Any) -> tuple[str, str]:
    """Name of the first link of a file that leads to another one, and the name of that; both empty if there is none."""
    seen = 0

    def look(name: str, link: Any) -> tuple[str, str] | None:
        nonlocal seen
        seen += 1
        if isinstance(link, h5py.ExternalLink):
            return name, str(link.filename)
        return ("", "") if seen > _MOST_NAMES else None

    return file.visititems_links(look) or ("", "")


def more_axes(file: Any) -> str:
    """Name and shape of a data set with more axes than a scan has; empty if there is none."""
    names = _arrays(file, range(5, 33))
    return f"/{names[0]} ({' x '.join(map(str, file[names[0]].shape))})" if names else ""


def pattern_arrays(file: Any) -> list[str]:
    """Names of the data sets of real numbers with three or four axes, anywhere in this very file."""
    return _arrays(file, range(3, 5))


def _arrays(file: Any, axes: range) -> list[str]:
    names: list[str] = []
    seen = 0

    def look(name: str, found: Any) -> bool | None:
        nonlocal seen
        seen += 1
        real = isinstance(found, h5py.Dataset) and found.shape is not None and found.dtype.kind in "iuf"
        if real and found.ndim in axes and 0 not in found.shape and not name.startswith("#refs#"):
            names.append(name)
        return True if seen > _MOST_NAMES else None

    file.visititems(look)
    return names


def _external_error(file: Any, name: str, location: str) -> InputFileError:
    copied = f'copy the data into one file: with h5py, new["data"] = old["{name}"][()]'
    return InputFileError(f"{file.file.filename}: {name} is {location}", copied)


def _check_filters(file: Any, name: str, found: Any) -> None:
    """Refuse compression that this installation cannot undo."""
    for code, *_ in _filters(found):
        if not h5py.h5z.filter_avail(code):
            raise InputFileError(
                f"{file.file.filename}: {name} is compressed with filter {code}, which is not supported",
                "rewrite it with h5repack",
            )


def attributes(group: Any) -> dict[str, Any]:
    """Return the attributes of a group as plain Python values: text, numbers, booleans, lists."""
    return {str(name): _plain(value) for name, value in group.attrs.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        value = value.tolist()
        return value[0] if isinstance(value, list) and len(value) == 1 else value
    return value.item() if isinstance(value, np.generic) else value


def stores_bslz4_patterns(found: Any) -> bool:
    """Whether every chunk is one pattern compressed with bitshuffle/LZ4, possibly followed by a checksum: without the
    checksum, a chunk is a ``bslz4`` part of the stream.
    """
    if found.chunks is None or found.chunks[-2:] != found.shape[-2:] or any(n != 1 for n in found.chunks[:-2]):
        return False
    filters = _filters(found)
    if has_checksums(found):
        filters = filters[:-1]
    if len(filters) != 1:
        return False
    code, _, options, *_ = filters[0]
    return code == BITSHUFFLE_FILTER and len(options) > 4 and options[4] == _BITSHUFFLE_LZ4


def has_checksums(found: Any) -> bool:
    """Whether the last of a data set's filters appends a checksum to each chunk."""
    filters = _filters(found)
    return bool(filters) and filters[-1][0] == h5py.h5z.FILTER_FLETCHER32


def _filters(found: Any) -> list[tuple[Any, ...]]:
    """The filters of a data set, in the order in which they are applied on writing."""
    pipeline = found.id.get_create_plist()
    return [pipeline.get_filter(k) for k in range(pipeline.get_nfilters())]


def never_written(frames: Any) -> str:
    """Say how much of a data set was never written, such as the rest of a scan that was broken off; empty for nothing,
    and for frames that are no data set.

    HDF5 returns a fill value there, which is a possible count.
    """
    if not isinstance(frames, h5py.Dataset):
        return ""
    if frames.chunks is None:
        return "its data set was never written" if frames.id.get_offset() is None else ""
    pieces = math.prod(-(-length // chunk) for length, chunk in zip(frames.shape, frames.chunks, strict=True))
    missing = pieces - frames.id.get_num_chunks()
    return f"{missing} of {pieces} chunks of its data set were never written" if missing > 0 else ""


def write_arrays(group: Any, arrays: Mapping[str, Array]) -> None:
    """Write each array as a data set of the group."""
    for name, array in arrays.items():
        group.create_dataset(name, data=array)
