"""Files that exist whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.schema.files.processes import ProcessName, is_running

FORGOTTEN_S = 7 * 86400.0
"""A temporary file of another machine's process is abandoned after this long without a change."""
_STEM_BYTES = 120
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error codes of a write that finds no room; the system names no file in these errors."""


@contextmanager
def replacing(path: Path, permitted: Callable[[], object] | None = None) -> Iterator[Path]:
    """Yield a temporary name next to ``path``; on success sync it and rename it over ``path``, otherwise remove it.

    The name is unique across threads and processes, on this machine or another one. An OSError for the temporary name,
    or for a disk without room, is re-raised as one for ``path``, which is the name that users know.

    ``permitted``: called just before the renaming; raises if ``path`` must not be replaced any more, because another
    process has written it meanwhile.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        _sync(temporary)
        if permitted is not None:
            permitted()
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.filename == str(temporary) or (error.filename is None and error.errno in NO_ROOM):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> list[Path]:
    """Remove files that killed processes have left of :func:`replacing` in a folder; return the removed files."""
    removed = []
    for path in folder.glob(".*.tmp"):
        if _is_abandoned(path):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _temporary(path: Path) -> Path:
    """``.<name>.<process>.<random>.tmp``; a long name is truncated, because names are limited to 255 bytes."""
    stem = os.fsencode(path.name)[:_STEM_BYTES].decode(sys.getfilesystemencoding(), errors="ignore")
    return path.with_name(f".{stem}.{ProcessName.own()}.{secrets.token_hex(4)}.tmp")


def _is_abandoned(path: Path) -> bool:
    parts = path.name.removesuffix(".tmp").rsplit(".", 2)
    if parts[-1].isdigit() and (len(parts) < 3 or ProcessName.parse(parts[1]) is None):
        return not is_running(int(parts[-1]))  # named by earlier versions
    owner = ProcessName.parse(parts[1]) if len(parts) == 3 else None
    if owner is None:
        return False
    if owner.is_here:
        return not owner.is_running
    try:
        return time.time() - path.stat().st_mtime > FORGOTTEN_S
    except FileNotFoundError:
        return False


def _sync(path: Path) -> None:
    """Force a file, or the directory entry of one, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
