"""Append-only changes of an HDF5 file: existing bytes are never moved, and one write commits the new state.

Copying gigabytes of earlier refinements to add one more would take minutes and twice the room. Here all that is new is
written behind the end of the file: a new root group, with hard links to what is kept. Nothing before the end is
touched, so the file reads as before, by anybody, until its first 96 bytes (the superblock: where the root group lies
and where the file ends) are replaced by one write within a disk sector. Killed before that, the file is the old one
with bytes behind its end that nobody refers to; after that, the new one.

HDF5 itself changes a file in place. It is therefore given a file object that keeps changes before the end to itself
(they are link counts, and the link by which HDF5 holds the new root meanwhile), and before the superblock is written
everything new is read back from the disk alone. What is replaced is not reclaimed until the file is written anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.schema.files.new_hdf5 import Tail

if TYPE_CHECKING:
    import h5py

NEXT = ".next"
_BEGINNING = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0])
"""Signature, versions 0 of everything, eight bytes for an address and a length."""
_END_AT, _ROOT_AT, _SUPERBLOCK_BYTES = 40, 56, 96
_NOWHERE = b"\xff" * 8


class NotAppendableError(Exception):
    """The file has to be written anew: it is of another form, open for writing elsewhere, or was not read back."""


def append(path: Path, build: Callable[[h5py.Group, Callable[[str, h5py.Group, str], None]], None]) -> None:
    """Give a file a new root group, filled by ``build`` (the group, and what links it to an object of the file).

    ``build`` must not read what is in the file: HDF5 would write new texts among the old ones. Raises
    NotAppendableError, OSError for a full disk; the file then reads as before.
    """
    with _opened(path) as handle:
        end = _end_of(handle)
        tail = Tail(handle, end)
        try:
            root, digest = _write(tail, build)
            superblock = _superblock(handle, tail, root)
            os.fsync(handle)
            if _look_again(handle, superblock, end) != digest:
                raise NotAppendableError(f"{path} did not read back as it was written")
        except BaseException as error:
            os.ftruncate(handle, end)
            if tail.problem is not None:
                raise tail.problem from error
            if isinstance(error, RuntimeError | KeyError | OSError | ValueError):
                raise NotAppendableError(f"{path}: {error}") from error
            raise
        os.pwrite(handle, superblock, 0)
        os.fsync(handle)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file, while nobody has it open for writing: HDF5 holds an exclusive lock on what it writes."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield handle
    except BlockingIOError:
        raise NotAppendableError(f"{path} is open for writing elsewhere") from None
    finally:
        os.close(handle)


def _end_of(handle: int) -> int:
    """Where the file ends by its own account; what lies behind was written by somebody who was killed."""
    head = os.pread(handle, _SUPERBLOCK_BYTES, 0)
    end = int.from_bytes(head[_END_AT : _END_AT + 8], "little")
    plain = head[:16] == _BEGINNING and head[24:32] == bytes(8) and head[48:56] == _NOWHERE
    if not plain or not _SUPERBLOCK_BYTES <= end <= os.fstat(handle).st_size:
        raise NotAppendableError("the file is of another form")
    return end


def _write(tail: Tail, build: Callable[..., None]) -> tuple[int, bytes]:
    """Address of the new root group, and a digest of all that is found from it."""
    import h5py

    with h5py.File(tail, "r+", libver=("earliest", "v110")) as file:
        root = file.create_group(NEXT)
        filled = _fill_what_is_free(file, tail.end)

        def link(source: str, group: h5py.Group, name: str) -> None:
            group[name] = file[source]

        build(root, link)
        file.flush()
        address, digest = int(h5py.h5o.get_info(root.id).addr), _digest(root, tail.end)
        filled.clear()
        return address, digest


def _fill_what_is_free(file: h5py.File, end: int) -> list[h5py.Group]:
    """Use up what HDF5 takes for free before the end: a list of names that had no room for the link to the new root.

    Groups are the smallest things that HDF5 makes. These are found from nowhere, and go when they are let go of.
    """
    import h5py

    filled = [file.create_group(None)]
    while h5py.h5o.get_info(filled[-1].id).addr < end:
        filled.append(file.create_group(None))
    return filled


def _superblock(handle: int, tail: Tail, root: int) -> bytes:
    """The first bytes of the file to be; the disk has everything up to its end."""
    head = bytearray(os.pread(handle, _SUPERBLOCK_BYTES, 0))
    tail.seek(_END_AT)
    end = tail.read(8)
    size = int.from_bytes(end, "little")
    if size < tail.end or root < tail.end or tail.problem is not None:
        raise NotAppendableError("nothing was written behind the end")
    os.ftruncate(handle, size)
    head[_END_AT : _END_AT + 8] = end
    head[_ROOT_AT:] = struct.pack("<QQIIQQ", 0, root, 0, 0, 0, 0)  # nothing about the group is cached here
    return bytes(head)


def _look_again(handle: int, superblock: bytes, end: int) -> bytes:
    """The digest of the file to be, as anybody would read it."""
    import h5py

    seen = Tail(handle, os.fstat(handle).st_size)
    seen.write(superblock)
    with h5py.File(seen, "r") as file:
        return _digest(file["/"], end)


def _digest(root: h5py.Group, end: int) -> bytes:
    """Of names, links and attributes, and of the data that lie behind ``end``."""
    import h5py
    import numpy as np

    digest = hashlib.sha256()

    def attributes(name: str, item: Any) -> None:
        digest.update(repr((name, [(key, np.asarray(value).tolist()) for key, value in item.attrs.items()])).encode())

    def look(name: str, item: Any) -> None:
        attributes(name, item)
        if isinstance(item, h5py.Dataset):
            digest.update(repr((item.shape, item.dtype.str)).encode())
            if h5py.h5o.get_info(item.id).addr >= end and item.shape is not None:
                digest.update(
                    np.ascontiguousarray(item[()]).tobytes() if item.dtype.kind != "O" else repr(item[()]).encode()
                )
        else:
            links = {key: item.get(key, getlink=True) for key in item}
            digest.update(repr([(k, getattr(link, "path", "")) for k, link in links.items()]).encode())

    look("/", root)
    root.visititems(look)
    return digest.digest()
