"""What is known of each scan of a batch, kept in ``batch.json``: where a second call goes on from."""

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
    """Of a scan."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """Begun, and to be gone on with."""
    FAILED = "failed"


class Row(StrictModel):
    """A scan of a batch. What it is, then how far it is, then what came of it."""

    scan: str
    name: str
    """Of its files in the folder of the batch."""
    file_bytes: int = -1
    modified_ns: int = -1
    """Of the scan file when it was begun; -1: it could not be looked at."""
    settings: str = ""
    """Digest of what was asked for."""
    state: State = State.WAITING
    doing: str = ""
    run: str = ""
    """Name of its refinement, once it has begun."""
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    seconds: float = 0.0
    """That maps and refinement took, in all calls together."""
    information_limit_A: float | None = None
    """Of the map that is shown: where its signal is as strong as its noise."""
    map_shown: str = ""
    reason: str = ""
    """Why it failed."""
    remarks: tuple[str, ...] = ()
    """What looks wrong in the file, or was not reached, a sentence each."""

    def results(self, folder: Path) -> Path:
        """Its results file."""
        return folder / f"{self.name}_results.h5"

    def checkpoint(self, folder: Path) -> Path:
        """Its checkpoint, while it is not done."""
        return folder / f"{self.name}.checkpoint"

    def having(self, **values: Any) -> Row:
        """A copy with other values; a number that is none is not known."""
        none = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        return self.model_copy(update={**values, **dict.fromkeys(none)})

    def looked_at(self, settings: str) -> Row:
        """The row as it was, or, where file or settings are others now, as one that was not begun."""
        size, modified = _stamp(Path(self.scan))
        if (size, modified, settings) == (self.file_bytes, self.modified_ns, self.settings):
            return self
        return Row(scan=self.scan, name=self.name, file_bytes=size, modified_ns=modified, settings=settings)


class _File(StrictModel):
    format: int = Field(ge=1, le=FORMAT)
    scans: tuple[Row, ...] = ()


def digest(values: Mapping[str, Any]) -> str:
    """A short name of settings, the same for the same."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_rows(folder: Path) -> list[Row]:
    """Of an earlier call, none where there was none. Raises InputFileError for a file that is damaged or another's."""
    path = folder / STATE_FILE
    if not path.exists():
        return []
    try:
        return list(_File.model_validate(json.loads(read_text(path, MOST_BYTES))).scans)
    except (ValueError, RecursionError) as error:
        said = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = "".join(f"{part}: " for part in said["loc"])
        hint = "remove it to begin anew (results stay, and are added to)"
        raise InputFileError(f"{path} is damaged or of another program: {where}{said['msg']}", hint) from None


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Keep what is known. Raises OSError."""
    with replacing(folder / STATE_FILE) as temporary:
        plain = {"format": FORMAT, "scans": [row.model_dump() for row in rows]}
        temporary.write_text(json.dumps(plain, indent=1), encoding="utf-8")  # names need not be Unicode


def rows_of(scans: Sequence[Path], earlier: Sequence[Row], settings: str, *, retry: bool) -> list[Row]:
    """A row for each scan, in their order: that of an earlier call where nothing has changed since.

    What failed is waiting again with ``retry``, what was under way always.
    """
    known = {row.scan: row for row in earlier}
    taken = {row.name for row in earlier}
    rows = []
    for path in scans:
        scan = str(path.absolute())
        row = known.get(scan) or Row(scan=scan, name=_free_name(path, taken))
        taken.add(row.name)
        row = row.looked_at(settings)
        if row.state in (State.RUNNING, State.STOPPED) or (retry and row.state is State.FAILED):
            row = row.having(state=State.WAITING, doing="", reason="")
        rows.append(row)
    return rows


def _free_name(path: Path, taken: set[str]) -> str:
    """The name of the file, with its folder's or a number where another scan has that."""
    names = [path.stem, f"{path.absolute().parent.name}_{path.stem}"]
    numbers = (f"{path.stem}_{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (*names, *numbers) if name not in taken)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns
