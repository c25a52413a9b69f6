"""Refinements left next to their results files: finished ones, merged when a server starts and before a file is read,
and those that were cut off, whose checkpoints are named.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path

from ptylive.engine.results_file import PENDING, RESERVED, take_in
from ptylive.schema import PtyliveError
from ptylive.schema.files.filelock import FileBusyError

PATIENCE_S = 3.0
JOB = ".job"
"""Ending of the job of a refinement, kept next to its checkpoint."""
_RESERVATION = re.compile(rf"\.(.+)_results\.h5\.(run\d+)\.{RESERVED}")


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


def cut_off_runs(folder: Path, recording: str = "") -> list[tuple[str, str]]:
    """Return name of the scan and run of each refinement that has a checkpoint and no result.

    ``recording``: only those of this recording, its name without ending. A running refinement counts, too.
    """
    names = glob.escape(recording) or "*"
    reservations = sorted(folder.glob(f".{names}_results.h5.*.{RESERVED}"))
    named = (_RESERVATION.fullmatch(reservation.name) for reservation in reservations)
    found = [(str(each[1]), str(each[2])) for each in named if each is not None]
    return [(name, run) for name, run in found if (folder / f"{name}_{run}.checkpoint").is_file()]


def cut_off(folder: Path, recording: str = "") -> list[str]:
    """Return a line for each refinement that has a checkpoint and no result: how to continue it."""
    return [
        f"refinement {run} of {name} was cut off: to continue it, {_remedy(folder, name, run)}"
        for name, run in cut_off_runs(folder, recording)
    ]


def _remedy(folder: Path, name: str, run: str) -> str:
    is_kept = (folder / f"{name}_{run}{JOB}").is_file()
    return f"open the scan and resume it (refine_resume, run {run})" if is_kept else by_hand(name, run)


def by_hand(name: str, run: str) -> str:
    """Return how to continue a run whose job was not kept."""
    remedy = f"copy {name}_{run}.checkpoint to NEW.checkpoint, and give its settings to ptylive refine {name}.h5"
    return f"{remedy} -o NEW.h5 --resume"


def look_after(folder: Path, tell: Callable[[str, str], None]) -> None:
    """Log what was cut off, and merge what waits; for a server that starts, and therefore refines nothing yet."""
    for line in cut_off(folder):
        tell("warning", line)
    take_in_all(folder, tell)
