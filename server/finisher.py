"""What happens after the last frame: wait for the recording, fit everything afresh, write the results.

In a thread of its own, so that the next scan can already arrive.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ptylive.engine.live.engine import FrameSource
from ptylive.engine.results import describe_run, write_maps
from ptylive.schema import FrameBatch, PtyliveError
from ptylive.server.publisher import Publisher
from ptylive.server.scan_session import ScanSession

READ_FRAMES = 256
RECORDING_TIMEOUT_S = 3600.0

log = logging.getLogger(__name__)


class Finisher:
    """Finishes scans one after the other; ``on_finished`` is told of each."""

    def __init__(self, publisher: Publisher, command_line: str, on_finished: Callable[[ScanSession], None]) -> None:
        self._publisher, self._command_line, self._on_finished = publisher, command_line, on_finished
        self._scans: queue.SimpleQueue[ScanSession | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="finisher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, scan: ScanSession) -> None:
        """Queue a scan whose last frame has arrived."""
        self._scans.put(scan)

    def stop(self, timeout_s: float) -> None:
        """Finish what is queued, for at most ``timeout_s``."""
        self._scans.put(None)
        self._thread.join(timeout_s)
        self._stopping.set()

    def _run(self) -> None:
        while (scan := self._scans.get()) is not None:
            try:
                self._finish(scan)
            except PtyliveError as error:
                scan.problem = error.line()
            except Exception as error:
                log.exception("finishing a scan failed")
                scan.problem = f"the results could not be written: {error}"
            scan.finished.set()
            self._on_finished(scan)

    def _finish(self, scan: ScanSession) -> None:
        self._wait_for_recording(scan)
        if scan.engine is None:
            return
        with scan.lock:
            rendering = scan.engine.finish(frames_of(scan))
            payloads = scan.take(rendering)
        for payload in payloads:
            self._publisher.publish("maps", payload)
        save_results(scan, self._command_line)

    def _wait_for_recording(self, scan: ScanSession) -> None:
        waited = 0.0
        while not scan.recorded.wait(0.1) and waited < RECORDING_TIMEOUT_S and not self._stopping.is_set():
            waited += 0.1


def frames_of(scan: ScanSession) -> FrameSource | None:
    """The recorded frames of a scan, to be read again; None when there is no recording."""
    path = scan.recording
    if path is None or scan.recording_error or not path.exists():
        return None

    def read() -> Iterable[FrameBatch]:
        from ptylive.streamer.storage.source import open_source

        with open_source(path) as source:
            yield from source.batches(READ_FRAMES)

    return read


def results_path(recording: Path) -> Path:
    """Name of the results that belong to a recording (contract, section 4)."""
    return recording.with_name(f"{recording.stem}_results.h5")


def save_results(scan: ScanSession, command_line: str) -> Path | None:
    """Write the maps of a scan beside its recording; None where nothing is recorded."""
    if scan.recording is None or scan.engine is None or not scan.rendering.maps:
        return None
    path = results_path(scan.recording)
    settings = describe_run(command_line, "cpu")
    write_maps(path, scan.rendering.maps, scan.engine.coverage, scan.calibration, settings)
    scan.results = path
    return path
