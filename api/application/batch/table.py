"""The table of a batch: ``batch.csv`` for programs, ``batch.html`` to look at, both rewritten whole."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from ptylive.application.batch.figures import FOLDER, MAP, OBJECT, thumbnail
from ptylive.application.batch.rows import Row, State
from ptylive.schema.errors import printable
from ptylive.schema.files.atomic import replacing

CSV_FILE, PAGE_FILE = "batch.csv", "batch.html"
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
    """Both files. A page of a batch that has not ended loads itself anew. Raises OSError."""
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
    """A line of the CSV file; a number that is not known is empty."""
    begun = row.state is State.DONE or row.epoch > 0
    return (
        row.scan,
        str(row.state),
        "" if row.information_limit_A is None else f"{row.information_limit_A:.4g}",
        row.map_shown,
        "" if row.loss is None else repr(row.loss),
        row.epoch if begun else "",
        f"{row.seconds:.1f}",
        row.run,
        row.results(Path()).name if begun else "",
        row.reason,
        "; ".join(row.remarks),
    )


def to_html(folder: Path, rows: Sequence[Row], *, ended: bool) -> str:
    """The page. Names and reasons that came from files stand in it as text, whatever they are."""
    from jinja2 import Environment

    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    return page.render(
        rows=[(row, Path(row.scan).name, _pictures(folder, row)) for row in rows],
        title=folder.absolute().name,
        summary=summary(rows),
        reload_s=None if ended else RELOAD_S,
        printable=printable,
        State=State,
    )


def summary(rows: Sequence[Row]) -> str:
    """How many scans are in which state."""
    counts = Counter(row.state for row in rows)
    return f"{len(rows)} scans: " + ", ".join(f"{counts[state]} {state}" for state in State if counts[state])


def _pictures(folder: Path, row: Row) -> dict[str, str]:
    """Addresses of the thumbnails there are, relative to the page."""
    if row.state is not State.DONE:
        return {}
    there = [kind for kind in (MAP, OBJECT) if thumbnail(folder, row.name, kind).exists()]
    return {kind: f"{FOLDER}/{quote(thumbnail(folder, row.name, kind).name)}" for kind in there}
