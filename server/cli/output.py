"""What commands print: progress and tables on stderr for people, one JSON object as the last line of stdout."""

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
"""Characters of a text in a list; longer ones that hold a comma are sentences."""
LINE_INTERVAL_S = 10.0
"""Where there is no terminal for a bar, a line tells how far a command is, this often."""


def console() -> Console:
    """People look at stderr; stdout belongs to results."""
    from rich.console import Console

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
            for one in _lines(value):
                sys.stdout.write(f"{name}: {_readable(one)}\n")
    sys.stdout.flush()


def _lines(value: Any) -> list[Any]:
    """A value, or the sentences of a list, each of which has a line of its own: they hold commas."""
    if not isinstance(value, list | tuple):
        return [value]
    sentences = any(isinstance(one, str) and ", " in one and len(one) > LONGEST_WORDS for one in value)
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
    """Not all that was asked for was done: say what is missing, and exit so."""
    say(reason)
    raise typer.Exit(ExitCode.PARTIAL)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, by a command that knows what is kept and how to go on."""


@contextmanager
def when_interrupted(kept: str) -> Iterator[None]:
    """``kept`` is what Ctrl-C in this block tells the user."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(kept) from None


class Shown(Protocol):
    """How far a command is, told to the person at the terminal."""

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """What is done, of what there is to do: None as before, 0 unknown; ``text`` may change on the way."""
        ...


class Bar:
    """A bar on a terminal."""

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
    """A line every few seconds, also while nothing moves: a log then shows that the command lives."""

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
        """No further lines."""
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
    """Nobody wants to know."""

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """See :class:`Shown`."""


@contextmanager
def bar(text: str, *, quiet: bool, interval_s: float = LINE_INTERVAL_S) -> Iterator[Shown]:
    """Progress on stderr: a bar on a terminal, a line every ten seconds elsewhere, nothing where ``quiet``."""
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
