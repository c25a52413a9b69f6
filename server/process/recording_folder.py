"""Check, before a server starts, that recordings can be written to its folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from ptylive.schema import PtyliveError
from ptylive.streamer.recording.in_time import in_time

LEAST_FREE_BYTES = 100 * 10**6
"""Free space below which a disk counts as full: less would not hold the smallest scan, its results and conversion."""
PATIENCE_S = 20.0
"""Time limit: a network disk takes seconds to wake up, and one that hangs would silently keep the server from starting.
"""
HINT = "choose another folder with --record DIR (record under [server] in a file), or record nothing with --no-record"


def require_recordable(folder: Path) -> None:
    """Create the folder if necessary, and write a file in it. Raises PtyliveError with the reason if this fails."""
    try:
        free = in_time(partial(_tried, folder), PATIENCE_S)
    except TimeoutError:
        problem = f"cannot record in {folder}: it does not respond (waited {PATIENCE_S:g} s)"
        raise PtyliveError(problem, f"is its disk connected? otherwise {HINT}") from None
    except (FileExistsError, NotADirectoryError):
        raise PtyliveError(f"cannot record in {folder}: it is not a folder", HINT) from None
    except OSError as error:
        raise PtyliveError(f"cannot record in {folder}: {error.strerror or error}", HINT) from None
    if free < LEAST_FREE_BYTES:
        problem = f"cannot record in {folder}: {free / 1e6:.0f} MB are free, {LEAST_FREE_BYTES / 1e6:.0f} MB are needed"
        raise PtyliveError(problem, f"make room, or {HINT}")


def _tried(folder: Path) -> int:
    """Write a file in a folder; return the number of free bytes there. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".ptylive-", suffix=".tmp") as trial:
        trial.write(b"can be written")
        trial.flush()
        os.fsync(trial.fileno())
    return shutil.disk_usage(folder).free
