"""End a child process with its parent: the child holds a pipe from the parent and exits when it closes."""

from __future__ import annotations

import os
import sys
import threading

from ptylive.schema.plain_errors import ORPHANED


def exit_with_parent() -> None:
    """From now on, end this process at once when its standard input is closed.

    There is no clean-up: the parent was killed, and everything that must survive this is on disk already.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(ORPHANED)

    threading.Thread(target=wait, name="parent watch", daemon=True).start()
