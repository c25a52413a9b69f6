"""A child process that must not outlive its parent holds a pipe; when the pipe ends, so does the child."""

from __future__ import annotations

import os
import sys
import threading

ORPHANED = 70


def exit_with_parent() -> None:
    """From now on, end this process at once when its standard input is closed.

    No clean-up: the parent was killed, and what must survive that is on disk already.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=wait, name="parent watch", daemon=True).start()
