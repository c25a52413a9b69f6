"""npy files: written whole or not at all, and read as settings name them."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from types import SimpleNamespace
from typing import Any

import numpy as np

from ptylive.schema.errors import InputFileError, MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import check_is_file
from ptylive.schema.model import Array

UNREADABLE = (OSError, ValueError, TypeError, EOFError, SyntaxError, MemoryError, TokenError)
"""What numpy raises when it reads a file that holds no array."""


def read_npy(what: str, path: str, hint: str, *, dtype: Any = None, mapped: bool = False) -> Array:
    """Return the array of the file that the setting ``what`` names, as ``dtype``; ``mapped``: read only where needed.

    Raises MetadataError with this hint.
    """
    try:
        check_is_file(Path(path))
        stored: Any = np.load(Path(path), mmap_mode="r" if mapped else None, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return stored if dtype is None else np.asarray(stored, dtype)
        stored.close()
        reason = "an archive of arrays"
    except InputFileError as error:
        raise MetadataError(f"{what} {error}", hint) from None
    except UNREADABLE as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".")
    raise MetadataError(f"{what} {path}: {reason}", hint)


def write_npy(path: Path, array: Array) -> Path:
    """Write an array to ``path``, which is returned. Raises OSError.

    numpy is given no file but a function that writes: to a file it writes by itself, and says of a full disk only how
    many numbers are missing.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)
    return path
