"""Ctrl-C as a request: the first is noted, the second interrupts. Other signals to end are taken for Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ptylive.server.cli.output import say
from ptylive.server.process.ending_signals import ENDING


def ended_as_by_ctrl_c() -> None:
    """Have SIGTERM (of a scheduler, of ``kill``) and SIGHUP (of a terminal that goes) end the program as Ctrl-C does.

    What is kept then is kept. A signal that is ignored stays so: ``nohup``.
    """
    if threading.current_thread() is not threading.main_thread():
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if callable(handler):
            handler(number, frame)
        else:
            raise KeyboardInterrupt

    for one in ENDING:
        if signal.getsignal(one) is signal.SIG_DFL:
            signal.signal(one, interrupt)


@contextmanager
def ctrl_c_asks_to_stop(word: str) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, with a word for the user; the second raises KeyboardInterrupt.

    Outside the main thread signals are nobody's: the event is then never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_number: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say(word)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
