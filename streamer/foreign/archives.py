"""Archives of numpy arrays: an ``.npz`` with a scan in it, and similar archives of other programs.

Patterns of an array stored without compression (``numpy.savez``) are read when they are needed. A compressed one
(``savez_compressed``) cannot be read from the middle: it is read whole, if its stated size is below a bound.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array
from ptylive.streamer.foreign.arrays import check_frames, unmapped
from ptylive.streamer.foreign.nion import read_described
from ptylive.streamer.storage.scan_file import ScanFile, StoredFrames

MOST_MEMBERS = 1000
MOST_UNPACKED_BYTES = 4 * 2**30
"""Limit on a compressed array, which has to be held in memory."""
_LOCAL_HEADER = struct.Struct("<26xHH")
"""Local header of a zip file's member: the positions of the lengths of its name and of its extra field."""
_ENCRYPTED = 1
_FAULTS = (
    *(OSError, ValueError, EOFError, SyntaxError, MemoryError, TokenError, RuntimeError, NotImplementedError, KeyError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


@dataclass(frozen=True)
class Member:
    """An array of an archive, as described by its header: none of its data has been read."""

    name: str
    """Name without ``.npy``."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    header_bytes: int
    info: zipfile.ZipInfo

    @property
    def is_stored(self) -> bool:
        """Whether it is stored uncompressed in the file."""
        return self.info.compress_type == zipfile.ZIP_STORED

    @property
    def is_whole(self) -> bool:
        """Whether the archive holds as many bytes as the array has."""
        return math.prod(self.shape) * self.dtype.itemsize + self.header_bytes == self.info.file_size


@contextmanager
def open_npz(path: Path) -> Iterator[ScanFile]:
    """Open the only array of three or four axes in an ``.npz``; with a Nion ``.json`` next to it. InputFileError."""
    arrays = members(path)
    found = [member for member in arrays if len(member.shape) in (3, 4)]
    if len(found) != 1:
        content = f"{len(found)} arrays of three or four axes" if found else "no array of three or four axes"
        raise InputFileError(f"{path} holds {content}", "save only the scan with numpy.savez")
    (scan,) = found
    check_frames(path, scan.shape)
    sidecar = path.with_suffix(".json")
    frames, named = array_of(path, scan), f"the array is {scan.name}"
    if not sidecar.is_file():
        yield ScanFile(frames, notes=(named,))
        return
    described, metadata, notes = read_described(sidecar, frames)
    yield ScanFile(described, metadata, notes=(named, *notes))


def members(path: Path) -> list[Member]:
    """List the arrays of an archive by their headers. Raises InputFileError: no archive, damaged, Python objects."""
    check_is_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if len(infos) > MOST_MEMBERS:
                raise InputFileError(f"{path} holds more than {MOST_MEMBERS} arrays", "save only the scan")
            return [_member(archive, info) for info in infos]
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """Read the header of an array. Raises the exceptions of numpy and zipfile."""
    if info.flag_bits & _ENCRYPTED:
        raise ValueError(f"{info.filename} is encrypted")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        name = info.filename.removesuffix(".npy")
        return Member(name, tuple(shape), np.dtype(dtype), bool(fortran_order), file.tell(), info)


def array_of(path: Path, member: Member) -> StoredFrames:
    """Return the array, in its file if not compressed. Raises InputFileError: damaged, objects, too large to unpack."""
    check(path, member)
    try:
        return unmapped(path, _mapped(path, member)) if member.is_stored else _unpacked(path, member)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def check(path: Path, member: Member) -> None:
    """Raise InputFileError for an array of objects, of another size than stated, or too large to be unpacked."""
    if member.dtype.hasobject:
        raise InputFileError(f"{path}: {member.name} holds Python objects", "save numbers; objects are not unpickled")
    if not member.is_whole:
        problem = f"{path}: {member.name} has a different size from its header"
        raise InputFileError(problem, "is it damaged? save it again with numpy.savez")
    if not member.is_stored and member.info.file_size > MOST_UNPACKED_BYTES:
        size, most = member.info.file_size / 2**30, MOST_UNPACKED_BYTES / 2**30
        problem = f"{path}: {member.name} is compressed, {size:.3g} GiB; at most {most:g} GiB are unpacked"
        raise InputFileError(problem, "save it with numpy.savez or numpy.save, which do not compress")


def _mapped(path: Path, member: Member) -> Array:
    with path.open("rb") as file:
        file.seek(member.info.header_offset)
        name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = file.tell() + name_bytes + extra_bytes + member.header_bytes
    order: Any = "F" if member.fortran_order else "C"
    return np.memmap(path, member.dtype, "r", start, member.shape, order)


def _unpacked(path: Path, member: Member) -> Array:
    with np.load(path, allow_pickle=False) as archive:
        array: Array = archive[member.name]
        return array


def _unreadable(path: Path, error: Exception) -> InputFileError:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return InputFileError(f"{path} is not a complete archive of numpy arrays: {text}", "save it again with numpy.savez")
