"""Which scans a batch is of, from what people type: paths and patterns."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from ptylive.schema import InputFileError
from ptylive.schema.errors import brief

RESULTS, COEFFICIENTS = "_results", "_coefficients"
"""Ends of names that lie beside recordings and are none."""


def find_scans(given: Iterable[str | Path], out: Path) -> tuple[list[Path], list[Path]]:
    """Files of paths and patterns (``scans/*.h5``, ``**`` for folders below), each once, and those left out.

    Left out are results files, coefficients that lie beside their scan, and whatever lies in ``out``. Raises
    InputFileError for a pattern that nothing matches, a folder, and where no scan is left.
    """
    found = list(dict.fromkeys(path for one in given for path in _matching(str(one))))
    folder = out.resolve()
    scans = [path for path in found if not _is_other(path) and folder not in path.resolve().parents]
    if not scans:
        raise InputFileError("none of the files is a scan" if found else "no scan was named", "name scan files")
    taken = set(scans)
    return scans, [path for path in found if path not in taken]


def _matching(given: str) -> Sequence[Path]:
    path = Path(given)
    try:
        path.resolve()
        if path.is_dir():
            raise InputFileError(f"{path} is a folder", f"name its scans: '{path / '*.h5'}'")
        if path.exists() or not glob.has_magic(given):
            return [path]  # one that is missing has a line of its own in the table
        found = sorted(Path(one) for one in glob.glob(given, recursive=True))  # noqa: PTH207  (pathlib's: hidden ones too)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputFileError(f"{brief(given)} cannot be looked up: {error}", "name scan files") from None
    files = [one for one in found if not one.is_dir()]
    if not files:
        raise InputFileError(f"no file matches {brief(given)}", "check the path, and quote the pattern")
    return files


def _is_other(path: Path) -> bool:
    if path.stem.endswith(COEFFICIENTS):
        return path.with_name(path.name.replace(COEFFICIENTS, "")).exists()
    return path.stem.endswith(RESULTS)
