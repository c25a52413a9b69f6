"""The marks of a recorded scan, read in a process of its own: what a file holds never stops the receive thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from ptylive.schema.model import Array

_TIMEOUT_S = 60.0


class StoredMarks:
    """Marks (frames,) uint32 of recordings that were asked for; one thread asks. ``exact``: see `marks_of_frames`."""

    def __init__(self, *, exact: bool = True) -> None:
        self._kind = "--marks" if exact else "--sums"
        self._threads: dict[str, threading.Thread] = {}
        self._found: dict[str, Array | None] = {}

    def ask(self, uid: str, path: Path, frames: int) -> None:
        """Begin to read the marks of a recording, unless that is under way."""
        if uid in self._threads:
            return

        def read() -> None:
            self._found[uid] = _read(self._kind, path, frames)

        thread = threading.Thread(target=read, name="marks", daemon=True)
        self._threads[uid] = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self._found[uid] = None

    def asked(self, uid: str) -> bool:
        """Whether the marks of a scan were asked for and not taken."""
        return uid in self._threads

    def ready(self, uid: str) -> bool:
        """Whether :meth:`take` has an answer."""
        return uid in self._found

    def take(self, uid: str) -> Array | None:
        """The answer: the marks, or None where the recording has none or cannot be read."""
        self._threads.pop(uid, None)
        return self._found.pop(uid, None)


def _read(kind: str, path: Path, frames: int) -> Array | None:
    command = [sys.executable, "-m", "ptylive.streamer.storage.recorder", kind, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True)
        marks = np.frombuffer(done.stdout, np.uint32)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return marks if len(marks) == frames else None
