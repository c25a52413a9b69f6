"""Maps of recordings whose server was killed; the next server has recovered the recordings from their journals."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ptylive.schema import PtyliveError
from ptylive.server.session.finisher import how_to_make, results_path
from ptylive.server.session.scan_session import ScanSession

IDLE_POLL_S = 1.0

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
        self._waiting: deque[Path] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def add(self, recording: Path) -> None:
        """Queue a complete recording; unless it has results, its maps are made when there is time."""
        with self._lock:
            self._waiting.append(recording)
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
                recording = self._waiting.popleft()
            self._make_one(recording)

    def _make_one(self, recording: Path) -> None:
        if results_path(recording).exists():
            return
        try:
            self._make(self._opened(recording))
        except PtyliveError as error:
            reason = error.line()
        except Exception as error:
            log.exception("maps of a recovered scan")
            reason = str(error)
        else:
            self._tell("info", f"{recording.name}, recovered from its journal: its maps have been made")
            return
        self._tell(
            "warning", f"{recording.name}, recovered from its journal, has no maps: {reason}; {how_to_make(recording)}"
        )
