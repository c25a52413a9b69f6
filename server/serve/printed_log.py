"""The log of a server without a page, printed where the server runs; a terminal that stands still holds up nothing."""

from __future__ import annotations

import logging
import queue
from logging.handlers import QueueHandler, QueueListener

from ptylive.server.wire.publisher import lines

MOST_WAITING = 1000
"""Lines that wait for a terminal; further ones are dropped."""


class _Dropping(QueueHandler):
    """Drops what there is no room for."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the terminal is what does not take lines."""


def print_log() -> QueueListener:
    """Print the log from now on, from a thread of its own."""
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
    listener = QueueListener(waiting, *logging.getLogger().handlers)
    listener.start()
    lines.addHandler(_Dropping(waiting))
    lines.propagate = False
    lines.setLevel(logging.INFO)
    return listener
