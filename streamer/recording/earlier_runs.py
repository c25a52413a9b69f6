"""Read what earlier runs left in the recording folder, in a separate thread while scans arrive.

Journals written to most recently come first, since their scans may go on; the others are reported as they are read.
Journals on which another process still works are followed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from ptylive.schema import PtyliveError
from ptylive.schema.files.atomic import remove_abandoned
from ptylive.streamer.events import Announcer
from ptylive.streamer.recording.catalogue import Catalogue
from ptylive.streamer.recording.recovery import (
    HeldJournals,
    Leftover,
    age_and_size,
    journals,
    read_leftover,
    remove_never_begun,
)
from ptylive.streamer.vetting.worker import FileWorker

CATALOGUE_S, START_S = 5.0, 8.0
"""How long the start waits to learn the folder's recordings and journals; the rest are read while frames arrive."""
RECENT_S, RESUME_S = 600.0, 60.0
"""A journal written to this recently may belong to a scan that goes on: it is waited for longer."""
LOOK_S = 0.3
"""How often to check whether other processes still work on their journals."""
FAULTS = (OSError, RuntimeError, PtyliveError)
"""Errors that a folder in a bad state can cause; RuntimeError: no thread can be started."""


class EarlierRuns:
    """Journals of earlier runs, none with ``folder=None``. ``is_open``: whether this process works on a journal."""

    def __init__(
        self, folder: Path | None, announcer: Announcer, catalogue: Catalogue | None, is_open: Callable[[Path], bool]
    ) -> None:
        self.held = HeldJournals()
        """Journals on which another process still works."""
        self._folder, self._announcer, self._catalogue, self._is_open = folder, announcer, catalogue, is_open
        self._found: queue.SimpleQueue[tuple[int, Leftover]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._recovered, self._recent_read, self._stop = (threading.Event() for _ in range(3))
        self._workers = FileWorker(), FileWorker()
        """For the recovery, and for scans taken up again before it has ended; each is a process while in use."""

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        for worker in self._workers:
            worker.close()

    def read(self, path: Path) -> Leftover:
        """Read a journal that is taken up again and report damage in it. Raises PtyliveError, OSError."""
        return self._reported(read_leftover(self.reader, path))

    def leftovers(self) -> list[Leftover]:
        """Return the journals of earlier runs that can be read soon, oldest first; the others come later."""
        if self._folder is None or self._thread is not None:
            return []
        self._thread = threading.Thread(target=self._recover, args=(self._folder,), name="recovery", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._announcer.log("warning", f"what earlier runs left in {self._folder} cannot be read: {error}")
            return []
        if not (self._recovered.wait(START_S) or (self._recent_read.wait(RESUME_S) and self._recovered.is_set())):
            self._announcer.log("warning", f"{self._folder} is still being read: a scan sent again may count as new")
        return self.late()

    def late(self) -> list[Leftover]:
        """Return the journals that have been read since, oldest first."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._found.get_nowait())
        return [leftover for _, leftover in sorted(found, key=lambda item: item[0])]

    def _recover(self, folder: Path) -> None:
        """Read what earlier runs left, and follow what other processes still work on; runs in a separate thread."""
        try:
            if self._catalogue is not None:
                self._catalogue.expect()
            found = journals(folder)  # before the recordings: a recorder that is still at work makes one of the other
            if self._catalogue is not None:
                self._catalogue.refresh(CATALOGUE_S)
            remove_abandoned(folder)
            remove_never_begun(folder)
            self._read_journals(found)
        except FAULTS as error:
            self._announcer.log("warning", f"what earlier runs left in {folder} cannot be read: {line_of(error)}")
        finally:
            self._recovered.set()
            self._recent_read.set()
        while self.held.any and not self._stop.wait(LOOK_S):
            if self.held.look():
                self._look_for_recordings()
            for abandoned in self.held.abandoned():
                self._read_abandoned(abandoned)

    def _read_journals(self, paths: list[Path]) -> None:
        """Read journals, given oldest first. Those written to most recently come first, as their scans may go on; then
        the small ones, so that none of them waits for a huge one.
        """
        ages = [(order, path, *age_and_size(path)) for order, path in enumerate(paths)]
        cut_off = False
        for order, path, age_s, _ in sorted(ages, key=lambda entry: (entry[2] > RECENT_S, entry[3])):
            if self._stop.is_set():
                return
            if age_s > RECENT_S:
                self._recent_read.set()
            leftover = self._read_journal(order, path, self._workers[0])
            cut_off |= leftover is not None and leftover.end is None
        if not cut_off:  # otherwise it is needed at once
            self._workers[0].close()

    def _read_journal(self, order: int, path: Path, worker: FileWorker) -> Leftover | None:
        """Read and dispose of a journal, and return it; None if that fails, or if it is this process's by now. One that
        its recorder has removed since it was listed is a recording by now.
        """
        try:
            leftover = read_leftover(worker, path)
            if self._is_open(path):  # taken up again while it was read
                return None
            self._keep(order, self._reported(leftover))
        except (PtyliveError, OSError) as error:
            if path.exists():
                self._announcer.log("warning", error.line() if isinstance(error, PtyliveError) else f"{path}: {error}")
            else:
                self._look_for_recordings()
            return None
        return leftover

    def _read_abandoned(self, abandoned: Leftover) -> None:
        """Read the journal of a process that has ended before it was converted, to convert it here."""
        if self._is_open(abandoned.path) or self._read_journal(0, abandoned.path, self._workers[1]) is None:
            self.held.settle(abandoned.path)
        self._workers[1].close()

    def _look_for_recordings(self) -> None:
        """Another process has made a recording: find it before its scan is taken for new."""
        if self._catalogue is not None:
            self._catalogue.look_again()

    def _keep(self, order: int, leftover: Leftover) -> None:
        """Dispose of a journal that has been read: empty, of an ended or interrupted scan, or of another process."""
        if not (leftover.received.any() or leftover.damaged_bytes or leftover.busy):
            leftover.path.unlink(missing_ok=True)
        elif not leftover.busy:
            self._found.put((order, leftover))
        else:
            self.held.add(leftover)

    @property
    def reader(self) -> FileWorker:
        """File worker that reads journals taken up again."""
        return self._workers[0 if self._recovered.is_set() else 1]

    def _reported(self, leftover: Leftover) -> Leftover:
        """Report damage in a journal and return it."""
        if leftover.damaged_bytes:
            text = (
                f"{leftover.path}: {leftover.damaged_bytes} bytes are damaged; undamaged records around them are used"
            )
            self._announcer.log("warning", text)
        if leftover.torn_bytes and not leftover.busy:
            text = f"{leftover.path}: its last record was cut short ({leftover.torn_bytes} bytes) and is left out"
            self._announcer.log("info", text)
        return leftover


def line_of(error: Exception) -> str:
    """Describe an error in one line."""
    if isinstance(error, PtyliveError):
        return error.line()
    return str(getattr(error, "strerror", None) or error)
