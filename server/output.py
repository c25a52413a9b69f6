"""What commands print: progress and tables on stderr for people, one JSON object as the last line of stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


def console() -> Console:
    """People look at stderr; stdout belongs to results."""
    return Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """One line for the person at the terminal."""
    sys.stderr.write(f"ptylive: {line}\n")
    sys.stderr.flush()


def answer(values: Mapping[str, Any], *, as_json: bool) -> None:
    """The outcome of a command: one JSON line, or one ``name: value`` line each."""
    if as_json:
        sys.stdout.write(json.dumps(values, default=str) + "\n")
    else:
        for name, value in values.items():
            sys.stdout.write(f"{name}: {_readable(value)}\n")
    sys.stdout.flush()


def _readable(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_readable(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_readable(v) for v in value) or "none"
    return "–" if value in (None, "") else str(value)


class Bar:
    """A progress bar; ``text`` may change on the way."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """Move the bar."""
        values: dict[str, Any] = {"completed": done}
        if total is not None:
            values["total"] = total
        if text is not None:
            values["description"] = text
        self._progress.update(self._task, **values)


@contextmanager
def bar(text: str, *, quiet: bool) -> Iterator[Bar]:
    """A progress bar on stderr; plain terminals and ``quiet`` get none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    output = console()
    with Progress(*columns, console=output, disable=quiet or not output.is_terminal) as progress:
        yield Bar(progress, progress.add_task(text, total=None))
