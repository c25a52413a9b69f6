"""Updates about a running scan for the refinement that has begun on its rows."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ptylive.engine.refine.validation.run_size import STREAMED_PIXELS
from ptylive.schema import CommandError, ScanHeader
from ptylive.schema.metadata import to_attributes
from ptylive.server.refinement.refinements import Refinements
from ptylive.server.session.scan_session import ScanSession

INTERVAL_S = 0.5


def plain_values(header: ScanHeader) -> dict[str, Any]:
    """Return metadata of a scan as plain values, which override those in its file."""
    return {name: np.asarray(value).tolist() for name, value in to_attributes(header).items()}


def check_followable(scan: ScanSession, header: ScanHeader | None = None) -> None:
    """Raise CommandError with the reason if rows cannot be refined as they arrive; ``header``: with other values."""
    header = header or scan.header
    if scan.recording_error:
        hint = "make room in the recording folder, and refine the scan once it is recorded"
        raise CommandError(f"rows are read from the recording, which failed: {scan.recording_error}", hint)
    if scan.recording is None:
        raise CommandError(
            "rows are read from the recording, but this scan is not recorded",
            "switch recording on, and send the scan again",
        )
    if not header.basis.is_raw:
        raise CommandError("only frames can be refined while they arrive", "refine when the scan has ended")
    if header.scan.shape is None or header.detector.shape is None:
        raise CommandError("the shape of the scan is not known yet", "give scan.shape")
    if header.frames * int(np.prod(header.detector.shape)) >= STREAMED_PIXELS:
        raise CommandError("the scan does not fit into memory", "refine when the scan has ended")


class ScanNews:
    """Thread that sends a refinement process what becomes known of its scan, until either of them has ended."""

    def __init__(self, refinements: Refinements, scan: ScanSession) -> None:
        self._refinements, self._scan = refinements, scan
        self._thread = threading.Thread(target=self._run, name="scan news", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        scan = self._scan
        sent: dict[str, Any] = {}
        while not scan.finished.wait(INTERVAL_S) and self._listening:
            if scan.recording_error:
                self._refinements.tell(scan.uid, {"problem": f"recording failed: {scan.recording_error}"})
                return
            news = self._news()
            if news != sent and news["calibration"]:
                self._refinements.tell(scan.uid, news)
                sent = news

    @property
    def _listening(self) -> bool:
        return self._refinements.busy and self._refinements.current.uid == self._scan.uid

    def _news(self) -> dict[str, Any]:
        return {"calibration": self._scan.calibration.to_plain(), "values": plain_values(self._scan.header)}
