"""Errors for results files that cannot be read: one clear line that names the file."""

from __future__ import annotations

from pathlib import Path

from ptylive.schema import InputFileError
from ptylive.schema.errors import open_elsewhere

FAULTS = (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError, OverflowError)
"""What h5py and numpy raise for a file that is damaged or was not written by ptylive."""


def damaged(path: Path, error: BaseException) -> InputFileError:
    """Return the error to raise in place of one of FAULTS."""
    text = " ".join(str(error).split()) or type(error).__name__
    found = open_elsewhere(path, error)
    return found or InputFileError(f"{path}: {text}", "is it a complete results file of ptylive?")
