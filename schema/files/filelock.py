"""One writer at a time for a file that several processes write: a lock that ends with its holder.

The lock is ``flock`` on a hidden file next to the guarded one. The kernel releases it when its holder ends, however it
ends; on NFS it holds between machines. Where a file system has no ``flock`` (some FUSE and Lustre mounts) the hidden
file itself is the lock, created with ``O_EXCL``: one left by a dead process of this machine is removed; one of another
machine's process has to be removed by hand, and the message says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ptylive.schema.errors import PtyliveError
from ptylive.schema.files.processes import ProcessName

POLL_S = 0.02
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


class FileBusyError(PtyliveError):
    """Another process has been writing a file for longer than the permitted wait."""


@contextmanager
def locked(path: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock of ``path``.

    Raises FileBusyError after ``patience_s``, OSError where the folder cannot be written.
    """
    release = _acquired(path, time.monotonic() + patience_s)
    try:
        yield
    finally:
        release()


def lock_path(path: Path) -> Path:
    """Path of the lock of a file while somebody holds it."""
    return path.with_name(f".{path.name}.lock")


def _acquired(path: Path, deadline: float) -> Callable[[], None]:
    """Acquire the lock; return the function that releases it."""
    lock = lock_path(path)
    while True:
        release = _attempt(lock)
        if release is not None:
            return release
        if time.monotonic() >= deadline:
            raise FileBusyError(f"{path} is being written by {_owner(lock)}", "wait until it has finished, or end it")
        time.sleep(POLL_S)


def _attempt(lock: Path) -> Callable[[], None] | None:
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        if lock.exists():  # another user holds it
            return None
        raise
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        if error.errno not in _NO_FLOCK:
            raise
        return _attempt_exclusively(_exclusive(lock))
    if not _is_at(lock, handle):
        os.close(handle)
        return None
    with suppress(OSError):  # on a full disk the holder's name is lost, but the lock is released all the same
        os.ftruncate(handle, 0)
        os.pwrite(handle, _own_words(), 0)

    def release() -> None:
        lock.unlink(missing_ok=True)  # while still held, so that waiting processes see that its file is gone
        os.close(handle)

    return release


def _is_at(lock: Path, handle: int) -> bool:
    """Whether an open file still has that name: its last holder may have removed it."""
    try:
        return os.path.samestat(lock.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _exclusive(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.exclusive")


def _attempt_exclusively(lock: Path) -> Callable[[], None] | None:
    """Acquire the lock without ``flock``: whoever creates the file has the lock."""
    _remove_stale(lock)
    try:
        handle = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return None
    try:
        os.write(handle, _own_words())
    except OSError:  # without words it would count as nobody's
        lock.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return lambda: lock.unlink(missing_ok=True)


def _remove_stale(lock: Path) -> None:
    """Remove the lock of a dead process of this machine."""
    words = _words(lock)
    owner = ProcessName.parse(words.partition(" ")[0])
    if owner is None or owner.is_running:
        return
    aside = lock.with_name(f"{lock.name}.{secrets.token_hex(4)}")
    with suppress(FileNotFoundError):  # somebody else was first
        lock.rename(aside)
        if _words(aside) != words:  # a new one has just been made under this name
            aside.rename(lock)
        else:
            aside.unlink()


def _own_words() -> bytes:
    return f"{ProcessName.own()} {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode()


def _words(lock: Path) -> str:
    try:
        return lock.read_text(errors="replace")
    except OSError:
        return ""


def _owner(lock: Path) -> str:
    """Name the holder of a lock, for people."""
    guard = _exclusive(lock)
    words = _words(guard) or _words(lock)
    name, _, since = words.strip().partition(" ")
    owner = ProcessName.parse(name)
    if owner is None:
        return "another process"
    if owner.is_here:
        return f"process {owner.number} of this machine, since {since}"
    remedy = f" (if that process no longer exists, remove {guard})" if guard.exists() else ""
    return f"process {owner.number} on {owner.host}, since {since}{remedy}"
