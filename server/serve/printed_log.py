"""The log of a server without a dashboard, printed on its terminal; a stalled terminal delays nothing."""

from __future__ import annotations

import logging
import queue
from logging.handlers import QueueHandler, QueueListener

from ptylive.server.wire.publisher import lines

MOST_WAITING = 1000
"""Maximum number of lines waiting for the terminal; further lines are dropped."""


class _Dropping(QueueHandler):
    """Handler that drops lines when the queue is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Report nothing: it is the terminal that accepts no lines."""


def print_log() -> QueueListener:
    """Print the log from now on, in a separate thread."""
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MOST_WAITING)
    listener = QueueListener(waiting, *logging.getLogger().handlers)
    listener.start()
    lines.addHandler(_Dropping(waiting))
    lines.propagate = False
    lines.setLevel(logging.INFO)
    return listener
