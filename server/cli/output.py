"""Output of commands: progress and tables on stderr for people, one JSON object as the last line of stdout."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import typer

from ptylive.server.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LONGEST_WORDS = 40
"""Maximum length of a text in a list; longer texts that contain a comma count as sentences."""
LINE_INTERVAL_S = 10.0
"""Interval between progress lines where there is no terminal for a bar."""


def console() -> Console:
    """Return a console on stderr, for people; stdout is reserved for results."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """Print one line for the person at the terminal."""
    sys.stderr.write(f"ptylive: {line}\n")
    sys.stderr.flush()


def answer(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the outcome of a command: as one JSON line, or as ``name: value`` lines."""
    from ptylive.schema.errors import printable  # loads numpy and pydantic: not needed for the help

    if as_json:
        sys.stdout.write(json.dumps(values, default=str) + "\n")
    else:
        for name, value in values.items():
            for line in _lines(value):
                sys.stdout.write(f"{name}: {printable(_readable(line))}\n")
    sys.stdout.flush()


def _lines(value: Any) -> list[Any]:
    """Return a value, or the sentences of a list or map one per line, since they contain commas."""
    if isinstance(value, Mapping):
        nested = any(isinstance(item, Mapping) or (isinstance(item, str) and ", " in item) for item in value.values())
        return [f"{name}: {_readable(item)}" for name, item in value.items()] if nested else [value]
    if not isinstance(value, list | tuple):
        return [value]
    sentences = any(isinstance(item, str) and ", " in item and len(item) > LONGEST_WORDS for item in value)
    return list(value) if sentences else [value]


def _readable(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_readable(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_readable(v) for v in value) or "none"
    return "–" if value in (None, "") else str(value)


def end_partial(reason: str) -> NoReturn:
    """Report what is missing of a request that was done in part, and exit accordingly."""
    say(reason)
    raise typer.Exit(ExitCode.PARTIAL)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a command that can say what is kept and how to continue."""


@contextmanager
def when_interrupted(remark: str) -> Iterator[None]:
    """Make Ctrl-C in this block report ``remark`` to the user."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(remark) from None


class Shown(Protocol):
    """Progress of a command, shown to the person at the terminal."""

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """Show the amount ``done`` of ``total`` (None: as before, 0: unknown); ``text`` may change on the way."""
        ...


class Bar:
    """A progress bar on a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """See :class:`Shown`."""
        values: dict[str, Any] = {"completed": done}
        if total is not None:
            values["total"] = total
        if text is not None:
            values["description"] = text
        self._progress.update(self._task, **values)
        if total == 0:
            for task in self._progress.tasks:
                task.total = None  # update() takes None for "as before"


class Lines:
    """A line every few seconds, even without progress, so that a log shows that the command is alive."""

    def __init__(self, text: str, interval_s: float) -> None:
        self._text, self._done = text, 0.0
        self._total: float | None = None
        self._interval_s, self._started = interval_s, time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """See :class:`Shown`."""
        self._done = done
        self._total = self._total if total is None else total
        self._text = self._text if text is None else text

    def close(self) -> None:
        """Print no further lines."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            say(f"{self._text}: {self._so_far()}, {time.monotonic() - self._started:.0f} s")

    def _so_far(self) -> str:
        if not self._total:
            return f"{self._done:.4g}" if self._done else "working"
        return f"{self._done:.6g} of {self._total:.6g} ({100 * self._done / self._total:.0f} %)"


class Nothing:
    """Progress that is not shown."""

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """See :class:`Shown`."""


@contextmanager
def bar(text: str, *, quiet: bool, interval_s: float = LINE_INTERVAL_S) -> Iterator[Shown]:
    """Show progress on stderr: a bar on a terminal, a line every ten seconds elsewhere, nothing if ``quiet``."""
    output = console()
    if quiet:
        yield Nothing()
    elif output.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=output) as progress:
            yield Bar(progress, progress.add_task(text, total=None))
    else:
        lines = Lines(text, interval_s)
        try:
            yield lines
        finally:
            lines.close()
