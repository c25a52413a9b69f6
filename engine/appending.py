"""Append-only changes of an HDF5 file: existing bytes are never moved, and one write commits the new state.

Copying gigabytes of earlier refinements to add one more would take minutes and twice the space. Instead, everything new
is written behind the end of the file: a new root group, with hard links to the objects that are kept. Nothing before
the end is touched, so every reader sees the old file until its first 96 bytes (the superblock, which says where the
root group lies and where the file ends) are replaced by one write within a disk sector. If the process is killed before
that write, the file is the old one with unreferenced bytes behind its end; afterwards it is the new one.

HDF5 itself changes a file in place. It is therefore given a file object that withholds changes before the end (these
are link counts, and the link by which HDF5 temporarily holds the new root). Before the superblock is written, all new
objects are read back from the disk alone. Space of replaced objects is not reclaimed until the file is written anew.
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
"""Signature, version 0 throughout, eight-byte addresses and lengths."""
_END_AT, _ROOT_AT, _SUPERBLOCK_BYTES = 40, 56, 96
_UNDEFINED_ADDRESS = b"\xff" * 8


class NotAppendableError(Exception):
    """The file has to be written anew: unsupported layout, open for writing elsewhere, or failed to read back."""


def append(path: Path, build: Callable[[h5py.Group, Callable[[str, h5py.Group, str], None]], None]) -> None:
    """Give a file a new root group, filled by ``build`` (called with the group and a function that links file objects).

    ``build`` must not read from the file, because HDF5 would write new strings among the old ones. Raises
    NotAppendableError, or OSError for a full disk; the file then reads as before.
    """
    with _opened(path) as handle:
        end = _end_of(handle)
        tail = Tail(handle, end)
        try:
            root, digest = _write(tail, build)
            superblock = _superblock(handle, tail, root)
            os.fsync(handle)
            if _reread(handle, superblock, end) != digest:
                raise NotAppendableError(f"{path} reads back differently from what was written")
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
    """Open the file unless somebody has it open for writing: HDF5 holds an exclusive lock on files it writes."""
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield handle
    except BlockingIOError:
        raise NotAppendableError(f"{path} is open for writing in another program") from None
    finally:
        os.close(handle)


def _end_of(handle: int) -> int:
    """Return the end of the file as its superblock states it; anything behind was left by a process that was killed."""
    head = os.pread(handle, _SUPERBLOCK_BYTES, 0)
    end = int.from_bytes(head[_END_AT : _END_AT + 8], "little")
    plain = head[:16] == _BEGINNING and head[24:32] == bytes(8) and head[48:56] == _UNDEFINED_ADDRESS
    if not plain or not _SUPERBLOCK_BYTES <= end <= os.fstat(handle).st_size:
        raise NotAppendableError("the file has an unexpected structure")
    return end


def _write(tail: Tail, build: Callable[..., None]) -> tuple[int, bytes]:
    """Return the address of the new root group and a digest of everything reachable from it."""
    import h5py

    with h5py.File(tail, "r+", libver=("earliest", "v110")) as file:
        root = file.create_group(NEXT)
        filled = _fill_free_space(file, tail.end)

        def link(source: str, group: h5py.Group, name: str) -> None:
            group[name] = file[source]

        build(root, link)
        file.flush()
        address, digest = int(h5py.h5o.get_info(root.id).addr), _digest(root, tail.end)
        filled.clear()
        return address, digest


def _fill_free_space(file: h5py.File, end: int) -> list[h5py.Group]:
    """Use up space before the end that HDF5 considers free, and return the groups that fill it.

    Such space is, for instance, a list of names that had no room for the link to the new root. Groups are the smallest
    objects that HDF5 makes. These are unlinked, and disappear when they are released.
    """
    import h5py

    filled = [file.create_group(None)]
    while h5py.h5o.get_info(filled[-1].id).addr < end:
        filled.append(file.create_group(None))
    return filled


def _superblock(handle: int, tail: Tail, root: int) -> bytes:
    """Return the first bytes of the new file, after making sure that the disk holds everything up to its end."""
    head = bytearray(os.pread(handle, _SUPERBLOCK_BYTES, 0))
    tail.seek(_END_AT)
    end = tail.read(8)
    size = int.from_bytes(end, "little")
    if size < tail.end or root < tail.end or tail.problem is not None:
        raise NotAppendableError("nothing was written after the end of the file")
    os.ftruncate(handle, size)
    head[_END_AT : _END_AT + 8] = end
    head[_ROOT_AT:] = struct.pack("<QQIIQQ", 0, root, 0, 0, 0, 0)  # nothing about the group is cached here
    return bytes(head)


def _reread(handle: int, superblock: bytes, end: int) -> bytes:
    """Return the digest of the new file as any reader would see it."""
    import h5py

    tail = Tail(handle, os.fstat(handle).st_size)
    tail.write(superblock)
    with h5py.File(tail, "r") as file:
        return _digest(file["/"], end)


def _digest(root: h5py.Group, end: int) -> bytes:
    """Return a digest of names, links and attributes, and of the data that lie behind ``end``."""
    import h5py
    import numpy as np

    digest = hashlib.sha256()

    def add_attributes(name: str, item: Any) -> None:
        digest.update(repr((name, [(key, np.asarray(value).tolist()) for key, value in item.attrs.items()])).encode())

    def add_item(name: str, item: Any) -> None:
        add_attributes(name, item)
        if isinstance(item, h5py.Dataset):
            digest.update(repr((item.shape, item.dtype.str)).encode())
            if h5py.h5o.get_info(item.id).addr >= end and item.shape is not None:
                digest.update(
                    np.ascontiguousarray(item[()]).tobytes() if item.dtype.kind != "O" else repr(item[()]).encode()
                )
        else:
            links = {key: item.get(key, getlink=True) for key in item}
            digest.update(repr([(k, getattr(link, "path", "")) for k, link in links.items()]).encode())

    add_item("/", root)
    root.visititems(add_item)
    return digest.digest()
