"""The scans of a batch, from the paths and patterns that users give."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ptylive.schema import InputFileError
from ptylive.schema.errors import brief
from ptylive.streamer.foreign.formats import FOLDERS

RESULTS, COEFFICIENTS = "_results", "_coefficients"
"""Endings of names next to recordings that are not recordings."""


def find_scans(given: Iterable[str | Path], out: Path) -> tuple[list[Path], list[Path]]:
    """Files matching paths and patterns (``scans/*.h5``, ``**`` for subfolders), each once, and those left out.

    Results files, coefficients next to their scan, and everything in ``out`` are left out. Raises
    InputFileError for a pattern without match, a folder, and if no scan is left.
    """
    matches = list(dict.fromkeys(path for pattern in given for path in _matching(str(pattern))))
    folder = _followed(out)
    scans = [path for path in matches if not _is_output(path) and folder not in _followed(path).parents]
    if not scans:
        raise InputFileError("none of the files is a scan" if matches else "no scan was named", "name scan files")
    scan_set = set(scans)
    return scans, [path for path in matches if path not in scan_set]


def _followed(path: Path) -> Path:
    """Return a path with its links followed; circular ones, which cannot be opened anyway, stay as they are."""
    return Path(os.path.realpath(path))


def _matching(given: str) -> Sequence[Path]:
    path = Path(given)
    try:
        path.resolve()
        if path.is_dir() and not _is_one_scan(path):
            raise InputFileError(f"{path} is a folder", f"name its scans: '{path / '*.h5'}'")
        if path.exists() or not glob.has_magic(given):
            return [path]  # a missing file gets its own line in the table
        matches = sorted(Path(match) for match in glob.glob(_pattern(path), recursive=True))  # noqa: PTH207  (pathlib's: hidden ones too)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputFileError(f"{brief(given)} cannot be looked up: {error}", "name scan files") from None
    files = [match for match in matches if not match.is_dir() or _is_one_scan(match)]
    if not files:
        raise InputFileError(f"no file matches {brief(given)}", "check the path, and quote the pattern")
    return files


def _is_one_scan(folder: Path) -> bool:
    return folder.suffix.lower() in FOLDERS


def _pattern(given: Path) -> str:
    """The pattern in ``given`` behind those of its folders that exist under the very name, brackets included."""
    literal = Path()
    for place, part in enumerate(given.parts[:-1]):
        if not (literal / part).is_dir():
            return str(Path(glob.escape(str(literal)), *given.parts[place:]))
        literal /= part
    return str(Path(glob.escape(str(literal)), given.name))


def _is_output(path: Path) -> bool:
    if path.stem.endswith(COEFFICIENTS):
        return path.with_name(path.name.replace(COEFFICIENTS, "")).exists()
    return path.stem.endswith(RESULTS)
