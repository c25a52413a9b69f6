"""Small text files (settings, presets, notes), read without waiting and with a size limit; and paths."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ptylive.schema.errors import InputFileError


def read_text(path: Path, most_bytes: int) -> str:
    """Return the text of a file. Raises InputFileError: missing, no ordinary file, larger than allowed, or no text."""
    try:
        return read_bytes(path, most_bytes).decode("utf-8")
    except UnicodeDecodeError:
        raise InputFileError(f"{path} is not text", "save it as UTF-8") from None


def real_path(path: Path) -> Path:
    """Return a path with its links followed, whether or not it exists. Raises OSError for circular links and for names
    that are too long, which newer Pythons ignore silently.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise
    return path.resolve()


def check_is_file(path: Path, hint: str = "give the path of the file itself") -> None:
    """Raise InputFileError unless the path is an ordinary file that may be read: nothing at all, a folder, a pipe,
    circular links.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputFileError(f"{path}: no such file", "check the path") from None
    except (OSError, ValueError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputFileError(f"{path}: {problem}", "check the path") from None
    if not stat.S_ISREG(mode):
        raise InputFileError(f"{path} is not a file", hint)
    if not os.access(path, os.R_OK):
        raise InputFileError(f"{path} cannot be read: permission denied", "check its permissions")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """Return the bytes of a file. Raises InputFileError: missing, no ordinary file, or larger than allowed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would block
    except FileNotFoundError:
        raise InputFileError(f"{path}: no such file", "check the path") from None
    except (OSError, ValueError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputFileError(f"{path}: {problem}", "check the path") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise InputFileError(f"{path} is not a file", "give the path of the file itself")
    with os.fdopen(handle, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InputFileError(f"{path} is larger than {most_bytes / 2**20:.3g} MiB", "is it the right file?")
    return content
