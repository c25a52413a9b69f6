"""Handling of a stdin, stdout or stderr that is closed, full, gone, or limited to few characters.

A command started with ``2>&-``, or whose log goes to a full disk, still does its work: messages to people may be lost,
results may not.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import TypeVar

STANDARD = (0, 1, 2)
NAMED = "standard output"
_Result = TypeVar("_Result")


def prepare() -> None:
    """Set up the streams; call this first. Processes started later inherit the streams, but none of them closed."""
    _open_closed()
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _rewrapped(1, _Results)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _rewrapped(2, _Messages)


def _open_closed() -> None:
    """Open closed streams; otherwise the next file opened would get that number, and printed output with it."""
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class _Results(io.TextIOWrapper):
    """Stream for results that raises an OSError naming it, once: what is left is not retried when the program ends."""

    def write(self, text: str, /) -> int:
        return _named(lambda: super(_Results, self).write(text))

    def flush(self) -> None:
        _named(super().flush)


class _Messages(io.TextIOWrapper):
    """Stream for messages that drops what cannot be written, so that the work goes on."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            pass


def _named(act: Callable[[], _Result]) -> _Result:
    try:
        return act()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        error.filename = NAMED
        raise


def _rewrapped(number: int, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    """Return a stream in the encoding of the old one; characters missing from the encoding are escaped."""
    old = sys.__stdout__ if number == 1 else sys.__stderr__
    encoding = "utf-8" if old is None else old.encoding
    raw = io.FileIO(number, "w", closefd=False)
    buffer = io.BufferedWriter(raw)
    return kind(buffer, encoding, "backslashreplace", line_buffering=number == 2 or raw.isatty())
