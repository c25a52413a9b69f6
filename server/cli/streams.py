"""What the program was started with as stdin, stdout and stderr: closed, full, gone, or of few characters.

A command that was started with ``2>&-`` or writes its log to a full disk does its work nevertheless: what is said to
people may be lost, a result may not.
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
    """Call first of all. Processes that are started later find the same, except that nothing is closed."""
    _open_closed()
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _over(1, _Results)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _over(2, _Messages)


def _open_closed() -> None:
    """Else the first file that is opened takes the number, and what a library prints goes into it."""
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


class _Results(io.TextIOWrapper):
    """Raises OSError that says where it was, once: nothing that is left is tried again when the program ends."""

    def write(self, text: str, /) -> int:
        return _named(lambda: super(_Results, self).write(text))

    def flush(self) -> None:
        _named(super().flush)


class _Messages(io.TextIOWrapper):
    """Loses what cannot be written: the work goes on."""

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


def _over(number: int, kind: type[io.TextIOWrapper]) -> io.TextIOWrapper:
    """A stream in the encoding of the one there was; characters that it has not are escaped."""
    old = sys.__stdout__ if number == 1 else sys.__stderr__
    encoding = "utf-8" if old is None else old.encoding
    raw = io.FileIO(number, "w", closefd=False)
    buffer = io.BufferedWriter(raw)
    return kind(buffer, encoding, "backslashreplace", line_buffering=number == 2 or raw.isatty())
