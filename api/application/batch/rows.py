"""State of each scan of a batch, stored in ``batch.json``, from which a second call continues."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from ptylive.schema import InputFileError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import read_text
from ptylive.schema.model import StrictModel

STATE_FILE, FORMAT = "batch.json", 1
MOST_BYTES = 2**28


class State(StrEnum):
    """State of a scan."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """Begun, and to be continued."""
    FAILED = "failed"


class Row(StrictModel):
    """A scan of a batch: what it is, its progress, and its results."""

    scan: str
    name: str
    """Base name of its files in the folder of the batch."""
    file_bytes: int = -1
    modified_ns: int = -1
    """Modification time of the scan file when it was begun; -1: it could not be determined."""
    settings: str = ""
    """Digest of the requested settings."""
    state: State = State.WAITING
    doing: str = ""
    run: str = ""
    """Name of its refinement, once begun."""
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    seconds: float = 0.0
    """Time taken by maps and refinement, in all calls together."""
    information_limit_A: float | None = None
    """Information limit of the displayed map: where its signal is as strong as its noise."""
    map_shown: str = ""
    reason: str = ""
    """Why it failed."""
    remarks: tuple[str, ...] = ()
    """Suspicious findings about the file, and goals not reached, one sentence each."""

    def results(self, folder: Path) -> Path:
        """Its results file."""
        return folder / f"{self.name}_results.h5"

    def checkpoint(self, folder: Path) -> Path:
        """Its checkpoint, while it is not done."""
        return folder / f"{self.name}.checkpoint"

    def having(self, **values: Any) -> Row:
        """Return a copy with other values; a number that is not finite becomes unknown."""
        not_finite = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        return self.model_copy(update={**values, **dict.fromkeys(not_finite)})

    def refreshed(self, settings: str) -> Row:
        """Return the row, or a fresh row if file or settings have changed since."""
        size, modified = _stamp(Path(self.scan))
        if (size, modified, settings) == (self.file_bytes, self.modified_ns, self.settings):
            return self
        return Row(scan=self.scan, name=self.name, file_bytes=size, modified_ns=modified, settings=settings)


class _File(StrictModel):
    format: int = Field(ge=1, le=FORMAT)
    scans: tuple[Row, ...] = ()


def digest(values: Mapping[str, Any]) -> str:
    """A short name of settings, equal for equal settings."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_rows(folder: Path) -> list[Row]:
    """Rows of an earlier call, none if there was none. Raises InputFileError for a damaged or foreign file."""
    path = folder / STATE_FILE
    if not path.exists():
        return []
    try:
        return list(_File.model_validate(json.loads(read_text(path, MOST_BYTES))).scans)
    except (ValueError, RecursionError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = "".join(f"{part}: " for part in problem["loc"])
        hint = "remove it to start again (results are kept, and added to)"
        raise InputFileError(
            f"{path} is damaged or written by another program: {place}{problem['msg']}", hint
        ) from None


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Store the rows. Raises OSError."""
    with replacing(folder / STATE_FILE) as temporary:
        plain = {"format": FORMAT, "scans": [row.model_dump() for row in rows]}
        temporary.write_text(json.dumps(plain, indent=1), encoding="utf-8")  # names need not be valid Unicode


def rows_of(scans: Sequence[Path], earlier: Sequence[Row], settings: str, *, retry: bool) -> list[Row]:
    """A row for each scan, in their order: that of an earlier call if nothing has changed since.

    Failed scans are waiting again with ``retry``, interrupted ones always.
    """
    stored = {row.scan: row for row in earlier}
    names_in_use = {row.name for row in earlier}
    rows = []
    for path in scans:
        scan = str(path.absolute())
        row = stored.get(scan) or Row(scan=scan, name=_free_name(path, names_in_use))
        names_in_use.add(row.name)
        row = row.refreshed(settings)
        if row.state in (State.RUNNING, State.STOPPED) or (retry and row.state is State.FAILED):
            row = row.having(state=State.WAITING, doing="", reason="")
        rows.append(row)
    return rows


def _free_name(path: Path, names_in_use: set[str]) -> str:
    """The file's stem, with its folder's name or a number if another scan has that name."""
    names = [path.stem, f"{path.absolute().parent.name}_{path.stem}"]
    numbers = (f"{path.stem}_{number}" for number in range(2, len(names_in_use) + 3))
    return next(name for name in (*names, *numbers) if name not in names_in_use)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns
