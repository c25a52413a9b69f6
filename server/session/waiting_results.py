"""Finished refinements stored next to their results files, merged when a server starts and before a file is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ptylive.engine.results_file import PENDING, take_in
from ptylive.schema import PtyliveError
from ptylive.schema.files.filelock import FileBusyError

PATIENCE_S = 3.0


def take_in_all(folder: Path, tell: Callable[[str, str], None]) -> None:
    """Merge all waiting refinements in a folder; ``tell`` takes level and line about each results file."""
    for path in sorted({folder / waiting.name.rsplit(".", 2)[0] for waiting in folder.glob(f"*.h5.*.{PENDING}")}):
        try:
            if take_in(path, PATIENCE_S):
                tell("info", f"{path.name}: refinements waiting in separate files were merged into it")
        except (PtyliveError, OSError) as error:
            line = error.line() if isinstance(error, PtyliveError) else str(error)
            tell("warning", f"{path.name}: refinements waiting in separate files could not be merged: {line}")


def take_in_now(path: Path, tell: Callable[[str, str], None]) -> None:
    """Merge refinements waiting next to a results file that is about to be read, unless it is being written now."""
    try:
        take_in(path, 0.0)
    except FileBusyError:
        return  # the process writing it merges them
    except (PtyliveError, OSError) as error:
        line = error.line() if isinstance(error, PtyliveError) else str(error)
        tell("warning", f"{path.name}: refinements waiting in separate files could not be merged: {line}")
