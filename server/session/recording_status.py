"""The latest status of each scan's recording, kept for scans that begin after it arrived or wait a long time for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ptylive.server.session.scan_session import ScanSession
from ptylive.streamer.events import RecordingEvent

REMEMBERED = 64
SETTLED = ("complete", "failed", "off")
MOST_UNRECORDED = 4
"""Number of finished scans, with their arrays, that are kept because their recordings may yet be completed."""


class RecordingStatus:
    """The latest status of every recent recording, and the scans that wait for it. Callable from any thread.

    ``again`` is called for a scan that has ended if its recording failed at first and was completed later.
    """

    def __init__(self, again: Callable[[ScanSession], object] = lambda _scan: None) -> None:
        self._again = again
        self._lock = threading.Lock()
        self._last: OrderedDict[str, RecordingEvent] = OrderedDict()
        self._scans: dict[str, ScanSession] = {}
        self._failed: dict[str, str] = {}

    @property
    def failures(self) -> tuple[str, ...]:
        """Messages of the recordings that have failed since the start and have not been completed since."""
        with self._lock:
            return tuple(self._failed.values())

    @property
    def failed(self) -> str:
        """What to say about failed recordings; empty without any."""
        failures = self.failures
        if not failures:
            return ""
        said = "a recording failed" if len(failures) == 1 else f"{len(failures)} recordings failed, the last one"
        return f"{said}: {failures[-1]}"

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
            scan = self._scans.get(event.uid)
            late = event.state == "complete" and scan is not None and scan.recording_error and scan.ended is not None
            if scan is not None:
                _tell(scan, event)
        if scan is not None and late:
            self._again(scan)

    def follow(self, scan: ScanSession) -> None:
        """Keep a scan informed until it is finished."""
        with self._lock:
            self._scans[scan.uid] = scan
            if scan.uid in self._last:
                _tell(scan, self._last[scan.uid])

    def leave(self, scan: ScanSession) -> None:
        """Stop following a scan that is finished, unless its recording failed: it may be completed later."""
        with self._lock:
            if self._scans.get(scan.uid) is not scan:
                return
            if not scan.recording_error:
                del self._scans[scan.uid]
                return
            unrecorded = [uid for uid, each in self._scans.items() if each.recording_error]
            for uid in unrecorded[:-MOST_UNRECORDED]:
                del self._scans[uid]


def _tell(scan: ScanSession, event: RecordingEvent) -> None:
    scan.recording = Path(event.path) if event.path else None
    scan.recording_waits = event.message if event.state == "waiting" else ""
    if event.state == "failed":
        scan.recording_error = event.message
    elif event.state == "complete" and scan.recording_error:
        scan.recording_error, scan.recorded_late = "", event.message
    if event.state in SETTLED:
        scan.kept = None
        scan.recorded.set()
