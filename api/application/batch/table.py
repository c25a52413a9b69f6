"""The table of a batch: ``batch.csv`` for programs, ``batch.html`` for reading, both rewritten completely."""

from __future__ import annotations

import base64
import csv
import os
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from ptylive.application.batch.figures import FOLDER, MAP, OBJECT, thumbnail
from ptylive.application.batch.rows import Row, State
from ptylive.application.outputs import RENAME, check_output_file
from ptylive.schema import InputFileError
from ptylive.schema.errors import printable
from ptylive.schema.files.atomic import replacing

CSV_FILE, PAGE_FILE, STANDALONE_FILE = "batch.csv", "batch.html", "batch_table.html"
MOST_PICTURE_BYTES = 2**20
TEMPLATE = "batch.html"
RELOAD_S = 10
COLUMNS = (
    "scan",
    "state",
    "information_limit_A",
    "map",
    "loss",
    "epochs",
    "seconds",
    "run",
    "results",
    "reason",
    "remarks",
)


def write_table(folder: Path, rows: Sequence[Row], *, ended: bool) -> None:
    """Write both files. The page of a batch that has not ended reloads itself. Raises OSError."""
    with (
        replacing(folder / CSV_FILE) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="replace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in rows)
    with replacing(folder / PAGE_FILE) as temporary:
        temporary.write_text(to_html(folder, rows, ended=ended), encoding="utf-8", errors="replace")


def _cells(row: Row) -> tuple[object, ...]:
    """A line of the CSV file; unknown numbers are empty."""
    has_begun = row.state is State.DONE or row.epoch > 0
    return (
        row.scan,
        str(row.state),
        "" if row.information_limit_A is None else f"{row.information_limit_A:.4g}",
        row.map_shown,
        "" if row.loss is None else repr(row.loss),
        row.epoch if has_begun else "",
        f"{row.seconds:.1f}",
        row.run,
        row.results(Path()).name if has_begun else "",
        row.reason,
        "; ".join(row.remarks),
    )


def write_standalone(folder: Path, rows: Sequence[Row]) -> Path:
    """Write the page with embedded pictures, for viewing elsewhere.

    Raises OSError; InputFileError if there is a file of that name that is not such a page.
    """
    path = folder / STANDALONE_FILE
    check_output_file(path)
    if path.exists() and not _is_page(path):
        raise InputFileError(f"{path} exists, and nothing in it says that ptylive wrote it", f"{RENAME}, or remove it")
    with replacing(path) as temporary:
        text = to_html(folder, rows, ended=True, pictures=_inlined)
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return path


def _is_page(path: Path) -> bool:
    head = files(__package__).joinpath(TEMPLATE).read_bytes().partition(b"{%")[0].rstrip()
    with path.open("rb") as file:
        return file.read(len(head)) == head


Pictures = Callable[[Path, Row], dict[str, str]]
"""Function that returns the addresses of a row's pictures."""


def to_html(folder: Path, rows: Sequence[Row], *, ended: bool, pictures: Pictures | None = None) -> str:
    """Render the page. Names and reasons that came from files are escaped."""
    from jinja2 import Environment

    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    return page.render(
        rows=[(row, Path(row.scan).name, (pictures or _pictures)(folder, row)) for row in rows],
        title=folder.absolute().name,
        summary=summary(rows),
        reload_s=None if ended else RELOAD_S,
        printable=printable,
        State=State,
    )


def summary(rows: Sequence[Row]) -> str:
    """Number of scans in each state."""
    counts = Counter(row.state for row in rows)
    return f"{len(rows)} scans: " + ", ".join(f"{counts[state]} {state}" for state in State if counts[state])


def _pictures(folder: Path, row: Row) -> dict[str, str]:
    """Addresses of the existing thumbnails, relative to the page."""
    if row.state is not State.DONE:
        return {}
    kinds = [kind for kind in (MAP, OBJECT) if thumbnail(folder, row.name, kind).exists()]
    return {kind: f"{FOLDER}/{quote(os.fsencode(thumbnail(folder, row.name, kind).name))}" for kind in kinds}


def _inlined(folder: Path, row: Row) -> dict[str, str]:
    """The existing thumbnails as data addresses."""
    inlined = {}
    for kind in _pictures(folder, row):
        path = thumbnail(folder, row.name, kind)
        if path.stat().st_size <= MOST_PICTURE_BYTES:
            inlined[kind] = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return inlined
