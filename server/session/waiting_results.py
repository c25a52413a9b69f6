"""Refinements left next to their results files: finished ones, merged when a server starts and before a file is read,
and those that were cut off, whose checkpoints or jobs are named.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path

from ptylive.engine.results_file import PENDING, RESERVED, merge_pending
from ptylive.schema import PtyliveError
from ptylive.schema.files.filelock import FileBusyError

PATIENCE_S = 3.0
CHECKPOINT, JOB = ".checkpoint", ".job"
"""Endings of the checkpoint of a refinement, and of its job, which is kept next to it."""
_RESERVATION = re.compile(rf"\.(.+)_results\.h5\.(run\d+)\.{RESERVED}")


def merge_all_waiting(folder: Path, tell: Callable[[str, str], None]) -> None:
    """Merge all waiting refinements in a folder; ``tell`` takes level and line about each results file."""
    for path in sorted({folder / waiting.name.rsplit(".", 2)[0] for waiting in folder.glob(f"*.h5.*.{PENDING}")}):
        try:
            if merge_pending(path, PATIENCE_S):
                tell("info", f"{path.name}: refinements waiting in separate files were merged into it")
        except (PtyliveError, OSError) as error:
            line = error.line() if isinstance(error, PtyliveError) else str(error)
            tell("warning", f"{path.name}: refinements waiting in separate files could not be merged: {line}")


def merge_waiting_now(path: Path, tell: Callable[[str, str], None]) -> None:
    """Merge refinements waiting next to a results file that is about to be read, unless it is being written now."""
    try:
        merge_pending(path, 0.0)
    except FileBusyError:
        return  # the process writing it merges them
    except (PtyliveError, OSError) as error:
        line = error.line() if isinstance(error, PtyliveError) else str(error)
        tell("warning", f"{path.name}: refinements waiting in separate files could not be merged: {line}")


def cut_off_runs(folder: Path, recording: str = "") -> list[tuple[str, str]]:
    """Return name of the scan and run of each refinement that has a checkpoint or a kept job, and no result.

    ``recording``: only those of this recording, its name without ending. A running refinement counts, too.
    """
    names = glob.escape(recording) or "*"
    reservations = sorted(folder.glob(f".{names}_results.h5.*.{RESERVED}"))
    named = (_RESERVATION.fullmatch(reservation.name) for reservation in reservations)
    found = [(str(each[1]), str(each[2])) for each in named if each is not None]
    return [(name, run) for name, run in found if any(_left(folder, name, run, what) for what in (CHECKPOINT, JOB))]


def cut_off(folder: Path, recording: str = "") -> list[str]:
    """Return a line for each refinement that was cut off: how to continue it, or to begin it again."""
    return [_remark(folder, name, run) for name, run in cut_off_runs(folder, recording)]


def _remark(folder: Path, name: str, run: str) -> str:
    told, resume = f"refinement {run} of {name} was cut off", f"open the scan and resume it (refine_resume, run {run})"
    if not _left(folder, name, run, CHECKPOINT):
        return f"{told} before its first checkpoint: to begin it again with its settings, {resume}"
    return f"{told}: to continue it, {resume if _left(folder, name, run, JOB) else by_hand(name, run)}"


def _left(folder: Path, name: str, run: str, what: str) -> bool:
    return (folder / f"{name}_{run}{what}").is_file()


def by_hand(name: str, run: str) -> str:
    """Return how to continue a run whose job was not kept."""
    remedy = f"copy {name}_{run}.checkpoint to NEW.checkpoint, and give its settings to ptylive refine {name}.h5"
    return f"{remedy} -o NEW.h5 --resume"


def look_after(folder: Path, tell: Callable[[str, str], None]) -> None:
    """Log what was cut off, and merge what waits; for a server that starts, and therefore refines nothing yet."""
    for line in cut_off(folder):
        tell("warning", line)
    merge_all_waiting(folder, tell)
