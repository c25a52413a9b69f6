"""The latest status of each scan's recording, kept for scans that begin after it arrived or wait a long time for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from ptylive.server.session.scan_session import ScanSession
from ptylive.streamer.events import RecordingEvent

REMEMBERED = 64
SETTLED = ("complete", "failed", "off")


class RecordingStatus:
    """The latest status of every recent recording, and the scans that wait for it. Callable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: OrderedDict[str, RecordingEvent] = OrderedDict()
        self._scans: dict[str, ScanSession] = {}
        self._failed: dict[str, str] = {}

    @property
    def failures(self) -> tuple[str, ...]:
        """Messages of the recordings that have failed since the start and have not been completed since."""
        with self._lock:
            return tuple(self._failed.values())

    def heard(self, event: RecordingEvent) -> None:
        """Handle a change in the state of a recording."""
        with self._lock:
            if event.state == "failed":
                self._failed[event.uid] = event.message
            elif event.state == "complete":
                self._failed.pop(event.uid, None)
            self._last[event.uid] = event
            self._last.move_to_end(event.uid)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
            if event.uid in self._scans:
                _tell(self._scans[event.uid], event)

    def follow(self, scan: ScanSession) -> None:
        """Keep a scan informed until it is finished."""
        with self._lock:
            self._scans[scan.uid] = scan
            if scan.uid in self._last:
                _tell(scan, self._last[scan.uid])

    def leave(self, scan: ScanSession) -> None:
        """Stop following a scan that is finished."""
        with self._lock:
            if self._scans.get(scan.uid) is scan:
                del self._scans[scan.uid]


def _tell(scan: ScanSession, event: RecordingEvent) -> None:
    scan.recording = Path(event.path) if event.path else None
    scan.recording_waits = event.message if event.state == "waiting" else ""
    if event.state == "failed":
        scan.recording_error = event.message
    if event.state in SETTLED:
        scan.kept = None
        scan.recorded.set()
