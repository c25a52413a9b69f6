"""What becomes of a results file that cannot be read: one clear line that names it."""

from __future__ import annotations

from pathlib import Path

from ptylive.schema import InputFileError
from ptylive.schema.errors import open_elsewhere

FAULTS = (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError, OverflowError)
"""What h5py and numpy make of a file that is damaged, or is none of ours."""


def damaged(path: Path, error: BaseException) -> InputFileError:
    """The error to be raised in place of one of FAULTS."""
    text = " ".join(str(error).split()) or type(error).__name__
    found = open_elsewhere(path, error)
    return found or InputFileError(f"{path}: {text}", "is it a results file of ptylive, and whole?")
