"""Ctrl-C as a request: the first is noted, the second interrupts. Other ending signals are treated like Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ptylive.server.cli.output import say
from ptylive.server.process.ending_signals import ENDING


def ended_as_by_ctrl_c() -> None:
    """Make SIGTERM (from a scheduler or ``kill``) and SIGHUP (from a closed terminal) end the program as Ctrl-C does.

    The same results are kept. A signal that is ignored stays ignored, as under ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(number, frame)
        else:
            raise KeyboardInterrupt

    for signal_number in ENDING:
        if signal.getsignal(signal_number) is signal.SIG_DFL:
            signal.signal(signal_number, interrupt)


@contextmanager
def ctrl_c_asks_to_stop(word: str) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, printing ``word``; the second raises KeyboardInterrupt.

    Outside the main thread signals cannot be handled, and the event is never set.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()
        say(word)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGINT, before)
