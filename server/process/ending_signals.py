"""Signals that end a program: of a scheduler or ``kill``, and of a terminal that goes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
Handler = Callable[[int, FrameType | None], object]


def handle_ending(handler: Handler) -> None:
    """Have a handler called for each of them and for Ctrl-C; a terminal that goes stays ignored under ``nohup``."""
    for number in (signal.SIGINT, *ENDING):
        hung_up = number == getattr(signal, "SIGHUP", None)
        if not (hung_up and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, handler)
