"""The work after the last frame: wait for the recording, fit everything afresh, write the results.

It runs in a separate thread, so that the next scan can already arrive.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np

from ptylive.application.conversion import RecordingCompression
from ptylive.engine.backend.imaging.open import MapDevice
from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.imaging.render import Rendering
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.live.reading import FrameSource
from ptylive.engine.results import describe_run, describe_scan, write_maps
from ptylive.engine.results_file import PATIENCE_S
from ptylive.engine.stored_maps import describe_maps
from ptylive.schema import FrameBatch, PtyliveError
from ptylive.schema.model import DoubleArray
from ptylive.server.process.compilation import Compilation, pieces_for
from ptylive.server.session.calibration_events import publish_calibration
from ptylive.server.session.dose_curves import DoseCurves, publish_dose_so_far
from ptylive.server.session.run_names import frames_of, how_to_make, results_path
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.stored_scans import sampled_patterns
from ptylive.server.session.subscriptions import Subscriptions
from ptylive.server.wire.messages import map_to_plain
from ptylive.server.wire.publisher import Publisher
from ptylive.streamer.vetting.known_files import FileAdmission, is_known
from ptylive.streamer.vetting.worker import FileWorker, Limits

RECORDING_TIMEOUT_S = 3600.0
"""How long a scan waits for its recording before its results are made without it."""
RETRY_S, RETRY_PATIENCE_S = 10.0, 1.0
"""Interval between attempts to write results that could not be written, and how long an attempt waits for a lock."""
MOST_UNSAVED = 4
"""Number of scans, with their arrays, whose results are still to be written."""
MOST_NAMED = 3
"""Recordings named in a line."""
LIMITS = Limits(cpu_s=2.0, wall_s=20.0)
"""Time limits for reading a file of the library."""
READERS = (
    "ptylive.server.session.stored_scans",
    "ptylive.streamer.source",
    "ptylive.engine.stored_maps",
    "ptylive.engine.results",
)
"""Modules that the tasks of the library need."""
LARGE_SAMPLE = Limits(cpu_s=20.0, wall_s=120.0)
"""Time limits for reading frames spread over a recording."""

log = logging.getLogger(__name__)


class Finisher:
    """Thread that finishes scans one after the other; ``on_finished`` is called for each.

    It is also called when results are made while newer ones have been requested (``scan.finished`` is not set then).

    ``compression``: of the recordings. ``subscriptions``: viewers whose maps are made first. ``compilation``: awaited
    before the first scan on a machine. ``device``: finds the device for maps.
    """

    def __init__(
        self,
        publisher: Publisher,
        command_line: str,
        on_finished: Callable[[ScanSession], None],
        compression: RecordingCompression,
        subscriptions: Subscriptions,
        compilation: Compilation,
        device: Callable[[], MapDevice],
    ) -> None:
        self._publisher, self._command_line, self._on_finished = publisher, command_line, on_finished
        self._dose_curves = DoseCurves(publisher)
        self._compression, self._subscriptions, self._compilation = compression, subscriptions, compilation
        self._device = device
        self.files = FileWorker(LIMITS, modules=READERS)
        """Worker that opens files of the library."""
        self._scans: queue.SimpleQueue[tuple[ScanSession, bool | None] | None] = queue.SimpleQueue()
        """Scans, and whether all results are to be made again, or only virtual detectors; None: it was opened."""
        self._due: Counter[str] = Counter()
        self._waiting: dict[str, ScanSession] = {}
        """Scans that are queued or being finished, by uid."""
        self._left: list[ScanSession] = []
        """Scans given up because the server stops."""
        self._unsaved: list[ScanSession] = []
        """Scans whose results could not be written, as on a full disk."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="finisher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def prepared(self) -> Self:
        """Start, in the background, the process that reads files, for which the first scan that is opened would wait
        seconds; return this finisher.
        """
        threading.Thread(target=self.files.prepare, name="file worker", daemon=True).start()
        return self

    def add(self, scan: ScanSession) -> None:
        """Queue a scan whose last frame has arrived, or whose values have changed since.

        A scan queued again before it was processed is processed once.
        """
        with self._lock:
            scan.finished.clear()
            scan.requests += 1
            self._due[scan.uid] += 1
            self._waiting[scan.uid] = scan
        self._scans.put((scan, True))

    def recorded(self, scan: ScanSession) -> None:
        """Write the results of a scan whose recording failed at first next to that recording."""
        self._publisher.log("info", f"{scan.header.series}: recorded after all: {scan.recorded_late}")
        self.add(scan)

    @property
    def idle(self) -> bool:
        """Whether no scan is being finished or queued."""
        with self._lock:
            return not self._due

    def make_maps(self, scan: ScanSession) -> None:
        """Make the maps of a scan opened from its files and write them next to it without showing them.

        Raises PtyliveError.
        """
        if not self._compilation.wait_quietly(pieces_for(scan.header), self._stopping.is_set):
            raise PtyliveError("the server stopped before its maps were made")
        frames = frames_of(scan, self.files)
        if frames is None:
            raise PtyliveError("its recording no longer exists")
        scan.engine, rendering = reconstruct(scan.header, frames, device=self._device(), settings=scan.map_settings)
        with scan.lock:
            scan.take(rendering)
        if save_results(scan, self._command_line) is None:
            raise PtyliveError("no map can be made from it")

    def fill_detectors(self, scan: ScanSession) -> None:
        """Queue a finished scan whose virtual detectors have changed."""
        self._scans.put((scan, False))

    def show_patterns(self, scan: ScanSession) -> None:
        """Queue a scan that was opened from its files: its patterns and its dose are shown soon."""
        self._scans.put((scan, None))

    def tell(self, level: str, line: str) -> None:
        """Log a line about the files of a scan."""
        self._publisher.log(level, line)

    def stop(self, timeout_s: float) -> None:
        """Finish what is queued, for at most ``timeout_s``; the terminal is told which recordings have no maps then."""
        self._scans.put(None)
        self._thread.join(timeout_s)
        self._stopping.set()
        with self._lock:
            left = [*self._left, *self._waiting.values()]
        without = list(dict.fromkeys(scan.recording for scan in left if scan.recording and scan.results is None))
        if without:
            names = ", ".join(path.name for path in without[:MOST_NAMED])
            more = f" and {len(without) - MOST_NAMED} more" if len(without) > MOST_NAMED else ""
            remedy = how_to_make(without[0])
            log.warning("the server stopped before the maps of %s%s were made: %s", names, more, remedy)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            scan, whole = job
            if whole and not self._is_last(scan):
                continue
            covered = scan.requests
            try:
                if whole is None:
                    self._show_patterns(scan)
                elif whole:
                    self._finish(scan)
                else:
                    self._renew_detectors(scan)
            except PtyliveError as error:
                scan.problem = error.line()
                self._tell_of_problem(scan, scan.problem)
            except Exception as error:
                log.exception("finishing a scan failed")
                scan.problem = f"the maps could not be made: {error}"
                self._tell_of_problem(scan, scan.problem)
            if whole:
                self._conclude(scan, covered)

    def _next(self) -> tuple[ScanSession, bool | None] | None:
        """Return the next scan; meanwhile try to write the results that could not be written."""
        while True:
            try:
                return self._scans.get(timeout=RETRY_S if self._unsaved else None)
            except queue.Empty:
                self._save_again()

    def _save(self, scan: ScanSession) -> None:
        """Write the results of a scan; if that fails, say so, and try again later."""
        try:
            save_results(scan, self._command_line)
        except PtyliveError as error:
            scan.unsaved = error.line()
            self._tell_of_problem(scan, scan.unsaved)
            self._unsaved = [*(each for each in self._unsaved if each is not scan), scan][-MOST_UNSAVED:]

    def _save_again(self) -> None:
        for scan in self._unsaved.copy():
            try:
                save_results(scan, self._command_line, RETRY_PATIENCE_S)
            except PtyliveError as error:
                scan.unsaved = error.line()
            if not scan.unsaved:
                self._unsaved.remove(scan)
                self._publisher.log("info", f"{scan.header.series}: its results have been written after all")
                self._on_finished(scan)

    def _tell_of_problem(self, scan: ScanSession, line: str) -> None:
        """Log why a scan has no results, or not the newest, which its message shows only while it is the one shown."""
        if not self._stopping.is_set():
            remedy = f"; {how_to_make(scan.recording)}" if scan.recording is not None and scan.results is None else ""
            self._publisher.log("error", f"{scan.header.series}: {line}{remedy}")

    def _show_patterns(self, scan: ScanSession) -> None:
        """Read a sample of the frames of an opened scan, and publish what follows from it."""
        if scan.engine is not None or scan.recording is None or self._stopping.is_set():
            return
        try:
            found = self.files.read(sampled_patterns, scan.recording, LARGE_SAMPLE)
        except PtyliveError as error:
            self._publisher.log("warning", f"{scan.header.series}: its patterns cannot be read: {error.line()}")
            return
        if found["mean"] is not None:
            with scan.lock:
                payloads = scan.take_sample(found["mean"], found["last"])
            for payload in payloads:
                self._publisher.publish("maps", payload)
        publish_dose_so_far(self._publisher, scan, final=True)

    def _show(self, scan: ScanSession, part: Rendering) -> None:
        """Publish the maps that are ready while the others are still being made."""
        for live_map in part.maps:
            self._publisher.publish("maps", map_to_plain(live_map, scan.uid))

    def _is_last(self, scan: ScanSession) -> bool:
        """Return whether the same scan has not been queued again in the meantime."""
        with self._lock:
            if self._due[scan.uid] == 1:
                return True
            self._due[scan.uid] -= 1
            return False

    def _conclude(self, scan: ScanSession, covered: int) -> None:
        with self._lock:
            scan.made = covered
            self._due[scan.uid] -= 1
            last = self._due[scan.uid] == 0
            if last:
                del self._due[scan.uid]
                self._waiting.pop(scan.uid, None)
                scan.finished.set()
        self._on_finished(scan)

    def _finish(self, scan: ScanSession) -> None:
        self._wait_for_recording(scan)
        if not self._compilation.wait(pieces_for(scan.header), self._stopping.is_set):
            self._left.append(scan)
            raise PtyliveError("the server stopped before its maps were made", "ptylive reconstruct makes them")
        frames = frames_of(scan, self.files)
        with scan.lock:
            if scan.engine is not None:
                rendering = scan.engine.finish(
                    frames, lambda part: self._show(scan, part), self._subscriptions.wanted()
                )
            elif frames is not None and scan.stored is not None:
                # opened from its files and changed since
                scan.engine, rendering = reconstruct(
                    scan.header, frames, device=self._device(), settings=scan.map_settings
                )
            elif scan.stored is not None:
                raise PtyliveError("its recording no longer exists: nothing can be made again with other values")
            else:
                return
            self._report_problems(scan, self._fill_detectors(scan, frames))
            payloads = scan.take(rendering)
            scan.problem = ""
        for payload in payloads:
            self._publisher.publish("maps", payload)
        publish_calibration(self._publisher, scan, final=True)
        self._dose_curves.take(scan)
        self._save(scan)
        if frames is not None and scan.recording is not None and not scan.compressed:
            self._compress(scan, scan.recording)

    def _compress(self, scan: ScanSession, recording: Path) -> None:
        """Write coefficients of a recording if the server was given a basis; a failure affects nothing else."""
        try:
            FileAdmission(self.files).admit_scan(recording)
            compressed = self._compression.apply(recording)
        except (PtyliveError, OSError) as error:
            line = error.line() if isinstance(error, PtyliveError) else f"{recording}: {error.strerror or error}"
            self._publisher.log("error", f"no coefficients: {line}")
            return
        if compressed is None:
            return
        target, report = compressed
        scan.compressed = True
        self._publisher.log("info", f"{target.name}: {report.line}")
        if report.warning:
            self._publisher.log("warning", report.warning)

    def _renew_detectors(self, scan: ScanSession) -> None:
        with scan.lock:
            self._report_problems(scan, self._fill_detectors(scan, frames_of(scan, self.files)))
            payloads = scan.take_detectors()
        for payload in payloads:
            self._publisher.publish("maps", payload)
        self._save(scan)

    @staticmethod
    def _fill_detectors(scan: ScanSession, frames: FrameSource | None) -> list[str]:
        """Fill in, from the recording, points a virtual detector missed, and all points of one that saw bad pixels.

        Returns one line for each detector that could not be placed, with the reason.
        """
        if scan.detectors is None:
            return []
        if frames is None:
            return scan.place_detectors() if scan.detectors.waits else []
        if scan.engine is not None:
            scan.detectors.leave_out(bad_pixels(scan.engine.header))
        mean = _mean_of(frames()) if scan.engine is None and scan.detectors.waits else None
        problems = scan.place_detectors(mean)
        coverage = scan.coverage if scan.engine is None else scan.engine.coverage
        if coverage.size and scan.detectors.incomplete(coverage):  # no coverage is known for a scan without an engine
            scan.detectors.fill(coverage, frames())
        return problems

    def _report_problems(self, scan: ScanSession, problems: Iterable[str]) -> None:
        for line in problems:
            if line not in scan.reported_problems:
                scan.reported_problems.add(line)
                self._publisher.log("warning", f"{scan.header.series}: {line}")

    def _wait_for_recording(self, scan: ScanSession) -> None:
        waited = 0.0
        while not scan.recorded.wait(0.1) and waited < RECORDING_TIMEOUT_S and not self._stopping.is_set():
            waited += 0.1


def _mean_of(frames: Iterable[FrameBatch]) -> DoubleArray | None:
    """Return the mean pattern (Qy, Qx) as recorded; None without frames."""
    total, count = None, 0
    for batch in frames:
        part = np.sum(batch.frames, axis=0, dtype=float)
        total, count = part if total is None else total + part, count + len(batch.index)
    return None if total is None else total / count


def save_results(scan: ScanSession, command_line: str, patience_s: float = PATIENCE_S) -> Path | None:
    """Write the maps of a scan next to its recording and return their path; None if nothing is recorded or mapped.

    The last caller writes the newest maps. Raises ResultsFileError, InputFileError; FileBusyError after
    ``patience_s``.
    """
    with scan.saving:
        with scan.lock:
            maps, coverage, calibration = list(scan.rendering.maps), scan.coverage.copy(), scan.calibration
            described = describe_maps(scan.map_settings, scan.flat, scan.header.scan)
        if scan.recording is None or not maps or not coverage.any():  # detectors alone may be ahead of all maps
            return None
        path = results_path(scan.recording)
        scan_description = describe_scan(scan.uid, scan.recording, path, _digest(scan, scan.recording))
        settings = {**describe_run(command_line, scan.backend), **scan_description, **described}
        write_maps(path, maps, coverage, calibration, settings, patience_s)
        scan.results, scan.unsaved = path, ""
        return path


def _digest(scan: ScanSession, recording: Path) -> str:
    """Return the digest of the patterns recorded by this server; empty during recording and for files of others."""
    from ptylive.streamer.source import open_source

    if scan.stored is None and is_known(recording):
        with suppress(PtyliveError), open_source(recording) as source:  # a missing hash must not cost the results
            return source.digest()
    return ""
