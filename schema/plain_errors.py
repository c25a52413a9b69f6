"""Errors that no code can catch: one line on stderr instead of a traceback.

Python calls ``sys.unraisablehook`` with errors raised where none can be: while an object is destroyed. An HDF5 file
whose disk is full does that for each of its objects that are still open, long after the write itself has failed with
its own line. Compiled (Cython) code passes such an error to ``sys.excepthook`` as well, just before.

Nor can anybody catch the error of a process that writes to its parent when the parent has been killed, or Ctrl-C, which
reaches all processes of a program at a terminal, in one that still loads.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ORPHANED = 70
"""Exit status of a process whose parent has gone."""
_COMPILED = (".pyx", ".pxi", ".pxd")
_LONGEST = 300


class _ErrorCounts:
    """Counts of each error seen; any thread may destroy objects."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def count(self, kind: str, place: str) -> int:
        """Count an error of a kind at a location; return the number so far."""
        with self._lock:
            self._counts[kind, place] += 1
            return self._counts[kind, place]


def say_unraisable_in_a_line(program: str) -> None:
    """From now on, in this process: print the first error of a kind at a location, then every tenth, hundredth, …, in
    one line that begins with ``program``.
    """
    counts = _ErrorCounts()

    def unraisable(about: UnraisableHookArgs) -> None:
        place = about.object if isinstance(about.object, str) else getattr(about.object, "__qualname__", "")
        place = str(place or about.err_msg or _place(about.exc_traceback))
        count = counts.count(about.exc_type.__name__, place)
        if count == 10 ** (len(str(count)) - 1):
            text = " ".join(str(about.exc_value).split())[:_LONGEST]
            problem = f"{place}: {about.exc_type.__name__}: {text}{_count_text(count)}"
            _write(f"{program}: WARNING: this error could not be reported, {problem}")

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if trace is None or not trace.tb_frame.f_code.co_filename.endswith(_COMPILED):
            sys.__excepthook__(kind, error, trace)  # otherwise it reaches the other hook, too

    sys.unraisablehook = unraisable
    sys.excepthook = uncaught


def tell_parent(line: str) -> None:
    """Write a line to stdout; if nobody is left to read it, end this process at once and silently.

    No clean-up: the parent was killed, and everything that must survive this is already on disk.
    """
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(ORPHANED)


def _count_text(count: int) -> str:
    return f" ({count} so far)" if count > 1 else ""


def _place(trace: TracebackType | None) -> str:
    """Location where an error was raised."""
    if trace is None:
        return "somewhere"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _write(line: str) -> None:
    """Write a line to stderr, if it exists: at the very end it may not."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@contextmanager
def ctrl_c_held() -> Iterator[None]:
    """Hold Ctrl-C back in this thread during the block, and in processes started in it for as long as they do not call
    :func:`take_ctrl_c`: whoever started them ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_ctrl_c() -> None:
    """Let Ctrl-C reach this thread again; one that was held back since the process started comes now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
