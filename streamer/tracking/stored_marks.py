"""The marks of a recorded scan, read by a file worker: nothing in a file can stop the receive thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from pathlib import Path

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array
from ptylive.streamer.vetting.tasks import marks
from ptylive.streamer.vetting.worker import FileWorker, Limits

_CPU_S, _WALL_S = 3.0, 60.0
_BYTES_PER_CPU_S = 50e6
"""For coefficients: all of them are read."""
MOST_ASKED = 64
"""Number of scans whose marks may be requested but not taken; beyond it nothing is known of a scan."""


class StoredMarks:
    """Marks (frames,) uint32 of requested recordings, read one after the other; for one requesting thread.

    ``exact``: see `marks_of_frames`.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self._exact = exact
        self._requested: set[str] = set()
        self._found: dict[str, Array | None] = {}
        self._requests: queue.SimpleQueue[tuple[str, Path, int]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._worker = FileWorker()

    def ask(self, uid: str, path: Path, frames: int) -> None:
        """Start reading the marks of a recording, unless that is under way."""
        if uid in self._requested:
            return
        self._requested.add(uid)
        if len(self._requested) > MOST_ASKED:
            self._found[uid] = None
            return
        self._requests.put((uid, path, frames))
        if self._thread is None:
            thread = threading.Thread(target=self._answer_all, name="marks", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: the next request tries again
                thread.start()
                self._thread = thread

    def ready(self, uid: str) -> bool:
        """Whether :meth:`take` has an answer."""
        return uid in self._found

    def take(self, uid: str) -> Array | None:
        """Return the answer: the marks, or None where the recording has none or cannot be read."""
        self._requested.discard(uid)
        return self._found.pop(uid, None)

    def _answer_all(self) -> None:
        while True:
            uid, path, frames = self._requests.get()
            found = self._read(path, frames)
            if uid in self._requested:
                self._found[uid] = found
            if self._requests.empty():
                self._worker.close()

    def _read(self, path: Path, frames: int) -> Array | None:
        try:
            limits = Limits(cpu_s=_CPU_S + path.stat().st_size / _BYTES_PER_CPU_S, wall_s=_WALL_S)
            found = np.asarray(self._worker.read(marks, path, limits, exact=self._exact), dtype=np.uint32)
        except (OSError, ValueError, InputFileError):
            return None
        return found if found.shape == (frames,) else None
