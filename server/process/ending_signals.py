"""Signals that end a program: from a scheduler or ``kill``, and from a terminal that closes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
Handler = Callable[[int, FrameType | None], object]


def handle_ending(handler: Handler) -> None:
    """Install a handler for these signals and for Ctrl-C; under ``nohup``, SIGHUP stays ignored."""
    for number in (signal.SIGINT, *ENDING):
        hung_up = number == getattr(signal, "SIGHUP", None)
        if not (hung_up and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # held back while this process was loading
