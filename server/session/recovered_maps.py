"""Maps of recordings whose server was killed, before it had recorded them or before it had made their maps.

A hidden empty file next to a recording, locked while its server runs, says that its maps are still to be made.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from ptylive.schema import PtyliveError
from ptylive.schema.files.filelock import FileBusyError, locked
from ptylive.server.session.run_names import how_to_make, results_path
from ptylive.server.session.scan_session import ScanSession
from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording.journal_file import SUFFIX

IDLE_POLL_S = 1.0
UNMADE = "unmade"
"""Ending of the hidden file of a recording without maps."""
FROM_JOURNAL, LEFT = "recovered from its journal", "which an earlier server left without maps"

log = logging.getLogger(__name__)


class RecoveredMaps:
    """Thread that makes these maps one after the other while the server is idle.

    ``opened``: opens a recording as an ended scan; ``make``: makes its maps and writes them next to it; ``idle``:
    whether no scan is running or being finished; ``tell``: takes level and line for the log.
    """

    def __init__(
        self,
        opened: Callable[[Path], ScanSession],
        make: Callable[[ScanSession], None],
        idle: Callable[[], bool],
        tell: Callable[[str, str], None],
    ) -> None:
        self._opened, self._make, self._idle, self._tell = opened, make, idle, tell
        self._waiting: deque[tuple[Path, str]] = deque()
        self._marks: dict[Path, ExitStack] = {}
        """Locks of the recordings of this server whose maps are still to be made."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def look_through(self, folder: Path) -> None:
        """Queue the recordings that an earlier server left without maps."""
        for mark in sorted(folder.glob(f".*_results.h5.{UNMADE}")):
            recording = folder / f"{mark.name[1:].removesuffix(f'_results.h5.{UNMADE}')}.h5"
            with suppress(FileBusyError, OSError), locked(mark, 0.0):
                if recording.is_file() or _is_coming(recording):
                    self.add(recording, LEFT)
                else:
                    mark.unlink(missing_ok=True)

    def heard(self, event: RecordingEvent, *, of_this_server: bool) -> None:
        """Note that a recording is being made, or is complete."""
        if event.state == "complete":
            self.recorded(Path(event.path), of_this_server=of_this_server)
        else:
            self.expect(Path(event.path))

    def expect(self, recording: Path) -> None:
        """Note, in a thread, that a recording is being made: should this server be killed, its recorder goes on."""
        with suppress(RuntimeError):  # no more threads
            threading.Thread(target=self._note, args=(recording,), name="mark of maps", daemon=True).start()

    def recorded(self, recording: Path, *, of_this_server: bool) -> None:
        """Note a complete recording; one whose scan this server did not receive is queued."""
        self._note(recording)
        if not of_this_server:
            self.add(recording, FROM_JOURNAL)

    def _note(self, recording: Path) -> None:
        """Mark a recording as one without maps, unless it has some."""
        if not results_path(recording).exists():
            with suppress(FileBusyError, OSError), ExitStack() as stack:  # on a full disk there is no mark
                stack.enter_context(locked(_mark(recording), 0.0))
                _mark(recording).touch()
                self._marks[recording] = stack.pop_all()

    def finished(self, recording: Path | None) -> None:
        """Note that maps were made, or cannot be; what is missing because this server ends is left to the next one."""
        if recording is not None and (results_path(recording).exists() or not self._stop.is_set()):
            with suppress(OSError), self._marks.pop(recording, ExitStack()):
                _mark(recording).unlink(missing_ok=True)

    def add(self, recording: Path, why: str) -> None:
        """Queue a complete recording; unless it has results, its maps are made when there is time."""
        with self._lock:
            self._waiting.append((recording, why))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="recovered maps", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Start no more; the history lists the recordings without maps, with the command that makes them."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._idle():
                self._stop.wait(IDLE_POLL_S)
                continue
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                recording, why = self._waiting.popleft()
                if coming := why == LEFT and _is_coming(recording):
                    self._waiting.append((recording, why))
            if coming:
                self._stop.wait(IDLE_POLL_S)
                continue
            self._make_one(recording, why)
            self.finished(recording)

    def _make_one(self, recording: Path, why: str) -> None:
        if results_path(recording).exists() or (why == LEFT and not recording.exists()):
            return
        try:
            self._make(self._opened(recording))
        except PtyliveError as error:
            reason = error.line()
        except Exception as error:
            log.exception("maps of a recovered scan")
            reason = str(error)
        else:
            self._tell("info", f"{recording.name}, {why}: its maps have been made")
            return
        self._tell("warning", f"{recording.name}, {why}, has no maps: {reason}; {how_to_make(recording)}")


def _is_coming(recording: Path) -> bool:
    """Whether a recording is still to be made from its journal."""
    return not recording.exists() and recording.with_suffix(SUFFIX).exists()


def _mark(recording: Path) -> Path:
    return recording.with_name(f".{results_path(recording).name}.{UNMADE}")
