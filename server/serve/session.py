"""A running server: receiver, live thread, finisher, refinements, and the commands it accepts.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

from ptylive.application.conversion import RecordingCompression
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.imaging import registry
from ptylive.engine.memory import Scratch
from ptylive.schema import CommandError, PtyliveError, ScanHeader
from ptylive.server.commands.analysis_commands import AnalysisCommands
from ptylive.server.commands.batch_commands import BatchCommands
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.detector_commands import DetectorCommands
from ptylive.server.commands.independent_commands import IndependentCommands
from ptylive.server.commands.library_commands import LibraryCommands
from ptylive.server.commands.map_commands import MapCommands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.commands.refine_commands import RefineCommands
from ptylive.server.commands.tune_commands import TuneCommands
from ptylive.server.process.compilation import Compilation, CompiledReader
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve.metrics import FrameTotals, render, serve_metrics
from ptylive.server.serve.opened_files import OpenedFiles
from ptylive.server.serve.receiving import receiver_settings
from ptylive.server.serve.stream_commands import StreamCommands, stream_warning
from ptylive.server.session.dose_curves import drift_since_first
from ptylive.server.session.finisher import Finisher, save_results
from ptylive.server.session.live import LiveThread, Resources, find_device
from ptylive.server.session.recent_scans import RecentScans
from ptylive.server.session.recording_status import RecordingStatus
from ptylive.server.session.recovered_maps import RecoveredMaps
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.subscriptions import LEASE_S, Subscriptions
from ptylive.server.session.waiting_results import look_after
from ptylive.server.wire.messages import events_address
from ptylive.server.wire.publisher import Publisher
from ptylive.streamer.events import LogEvent, RecordingEvent, StreamEvent
from ptylive.streamer.receiver import Receiver
from ptylive.streamer.sockets.security import ServerKeys
from ptylive.streamer.vetting.worker import FileWorker

STOP_TIMEOUT_S = 18.0
"""Time the parts of the server get to end, of the 20 s that `stop` may take."""
MOST_BEGUN = 1000
"""Number of scans of this process that are remembered, far more than can wait to be finished."""
SAVE_PATIENCE_S = 3.0
"""How long `save` waits for a busy results file: the caller and every queued command wait with it."""

log = logging.getLogger(__name__)


class Session:
    """Everything in a running server except its command sockets."""

    def __init__(self, config: ServerConfig, command_line: str = "ptylive serve") -> None:
        """Bind the data and event sockets. Raises PtyliveError when an address is taken."""
        self.config = config
        self.keys = None if config.key_folder is None else ServerKeys.open(config.key_folder)
        self.publisher = Publisher(events_address(config.control), self.keys)
        try:
            settings = receiver_settings(config, self.keys, self._prepare, self.publisher.log)
            self.receiver = Receiver(settings, on_event=self._on_stream_event)
        except PtyliveError:
            self.publisher.close()
            raise
        self.shutdown_requested, self._command_line = threading.Event(), command_line
        self._scan: ScanSession | None = None
        self._newest: ScanSession | None = None
        self._recent_scans, self.recording_wanted = RecentScans(), True
        self._begun: deque[str] = deque(maxlen=MOST_BEGUN)
        """Uids of scans that began or continued in this process; the finisher makes their maps."""
        self.restarts, self.notice = 0, ""
        self._lock = threading.Lock()
        self._totals = FrameTotals()
        compression = RecordingCompression(parse_basis(config.basis), config.keep_frames)
        self._subscriptions = Subscriptions(listeners=partial(self.publisher.listeners, "maps"))
        self.compilation = Compilation()
        map_device = cache(partial(find_device, config.backend, config.gpu_batch_bytes))
        self._finisher = Finisher(
            self.publisher,
            command_line,
            self._on_finished,
            compression,
            self._subscriptions,
            self.compilation,
            map_device,
        ).prepared()
        self._recording_status = RecordingStatus(self._finisher.recorded)
        self._running: dict[str, ScanSession] = {}
        """Scans that may still receive frames, by uid."""
        self._recovered = RecoveredMaps(self._opened, self._finisher.make_maps, self._is_idle, self.publisher.log)
        current, data, placement = self._current, self.receiver.address, AllowedPlaces(config)
        self.calibration = CalibrationCommands(
            config.defaults, config.overrides, current, self._finisher.add, self.publisher.log
        )
        self.detector = DetectorCommands(config, self.publisher)
        self.refine = RefineCommands(
            config, self.publisher, current, self.calibration, command_line, placement, self._opened
        )
        self.analysis = AnalysisCommands(config, self.refine.refinements, self, self._finisher)
        self.library = LibraryCommands(config, self.publisher, self, self._finisher, self.analysis.bank, data)
        self.tune = TuneCommands(config, self.publisher, current, placement, command_line)
        self.maps = MapCommands(config.maps, current, lambda: list(self._running.values()), self._finisher.add)
        self.batch = BatchCommands(
            config, self.publisher, self.library.find, placement, self.calibration, self.maps, self.analysis
        )
        self.opened_files = OpenedFiles(config, data, lambda: self.command_record()["on"], self.publisher.log)
        self._live = LiveThread(
            CompiledReader(self.receiver.ring.reader(), self.compilation),
            self.publisher,
            self.calibration.arriving,
            self._on_scan,
            self._on_scan_ended,
            self._subscriptions,
            Resources(Scratch(config.recording_folder), map_device, lambda: self.maps.settings),
        )
        try:
            self._metrics = serve_metrics(config.metrics, self.metrics_text)
        except PtyliveError:
            self.receiver.stop()
            self.publisher.close()
            raise

    def start(self) -> None:
        """Start receiving."""
        if (folder := self.config.recording_folder) is not None:
            self._recovered.look_through(folder)
            threading.Thread(target=look_after, args=(folder, self.publisher.log), name="waiting", daemon=True).start()
        self._finisher.start()
        self._live.start()
        self.receiver.start()

    def stop(self) -> None:
        """End the refinement, close the open scan, finish its recording and results; takes at most about 20 s."""
        if self._metrics is not None:
            self._metrics.close()
        self.compilation.close()
        self._recovered.stop()
        for part in (self.library, self.opened_files, self.tune, self.batch, self.refine):
            part.close()
        self.receiver.stop(STOP_TIMEOUT_S / 2)
        self._live.join(STOP_TIMEOUT_S / 4)
        self._finisher.stop(STOP_TIMEOUT_S / 4)
        self.files.close()
        self.publisher.close()

    @property
    def files(self) -> FileWorker:
        """Worker that opens untrusted files."""
        return self._finisher.files

    # -- events from the streamer and the scans -------------------------------------------------------------------

    def _prepare(self, header: ScanHeader) -> ScanHeader:
        """Return the header completed from the configuration, which supplies what DECTRIS streams do not carry."""
        return self.calibration.prepare(header)

    def _on_stream_event(self, event: StreamEvent) -> None:
        self._totals.on_event(event)
        if isinstance(event, LogEvent):
            self.publisher.log(event.level, event.text)
        elif isinstance(event, RecordingEvent):
            self._recording_status.heard(event)
            if event.state == "failed":
                self.publisher.log("error", f"recording failed: {event.message}")
                log.error("RECORDING FAILED: %s", event.message)
            elif event.state in ("converting", "complete") and event.path:
                self._recovered.heard(event, of_this_server=event.uid in self._begun)
            elif event.state == "waiting":
                self.publisher.log("error", f"recording waits: {event.message}")
                log.error("RECORDING WAITS: %s; frames are kept in memory", event.message)

    def _opened(self, recording: Path | str) -> ScanSession:
        """Open a recording, given by path or library name, as an ended scan with the configuration applied."""
        scan = self.library.open_quietly(recording if isinstance(recording, str) else recording.name)
        scan.header = self.calibration.prepare(scan.header)
        self.calibration.take_up(scan)
        return self.maps.given_to(scan)

    def _is_idle(self) -> bool:
        return (self._newest is None or self._newest.finished.is_set()) and self._finisher.idle

    def _on_scan(self, scan: ScanSession, beside: bool) -> None:
        self._begun.append(scan.uid)
        self._running[scan.uid] = scan
        self.calibration.take_up(scan)
        if self.config.recording_folder is None:
            scan.recorded.set()
        self._recording_status.follow(scan)
        self.refine.refinements.prepare(scan.header, gpu=self.config.backend != "cpu")
        scan.detectors = self.analysis.bank(scan.header)
        if beside:
            self.publisher.log(
                "info", f"scan {scan.header.series} continues in the background; another scan is displayed"
            )
            return
        with self._lock:
            before, self._scan, self._newest = self._newest, scan, scan
        if before is not None and before.pictures:
            self._recent_scans.put(before)
        self.publisher.log("info", f"scan {scan.header.series} armed: {scan.header.frames} frames")
        self.refine.refinements.give_way()
        self.refine.scan_begun(scan)

    def _on_scan_ended(self, scan: ScanSession, reason: str) -> None:
        self.publisher.log("info", f"scan {scan.header.series} {reason}")
        self._running.pop(scan.uid, None)
        current = self._running.get(self.receiver.status().uid)
        if current is not None and scan is self._newest:
            self._show_again(current)
        if current is None:
            self.refine.refinements.scan_over()
        self._finisher.add(scan)

    def _show_again(self, scan: ScanSession) -> None:
        """Show a scan that is still being received now that the scan shown until now has ended."""
        with self._lock:
            ended, self._newest = self._newest, scan
            if self._scan is ended:
                self._scan = scan
        if ended is not None and ended.pictures:
            self._recent_scans.put(ended)
        self._live.turn_to(scan)
        self.publisher.log("info", f"scan {scan.header.series}, which continued in the background, is displayed")

    def _on_finished(self, scan: ScanSession) -> None:
        self._recording_status.leave(scan)
        self._recovered.finished(None if scan.unsaved else scan.recording)
        if scan.pictures:
            self._recent_scans.put(scan)
        self.refine.scan_finished(scan)

    # -- what is shown --------------------------------------------------------------------------------------------

    @property
    def commands(self) -> tuple[object, ...]:
        """Objects whose ``command_*`` methods are the commands of the control protocol."""
        shown = self.analysis, self.analysis.checks, IndependentCommands(self)
        of_a_scan = self.calibration, self.maps, self.refine, self.tune, *shown
        stream = StreamCommands(self.receiver.end_scan, lambda: self.receiver.status().uid)
        of_all = (self.library, self.batch, self.opened_files, self.detector)
        return self, stream, *of_a_scan, *self.refine.further, *of_all

    def _current(self) -> ScanSession | None:
        return self._scan

    @property
    def shown(self) -> ScanSession | None:
        """The scan being shown: the newest, or a past scan that was opened."""
        return self._scan

    def show(self, scan: ScanSession | None) -> None:
        """Show a past scan until the next scan arrives; None returns to the newest live scan."""
        with self._lock:
            self._scan = self._newest if scan is None else self.maps.given_to(scan)
        self.refine.resuming.shown(scan)

    def needs(self, recording: Path) -> bool:
        """Whether a refinement still reads a recording."""
        return any(part.needs(recording) for part in (self.refine, self.tune, self.batch))

    def metrics_text(self) -> str:
        """Return the counters as Prometheus text; callable from any thread."""
        status = self.receiver.status()
        return render(status, self._totals.with_current(status), self.refine.refinements.current.summary())

    # -- commands -------------------------------------------------------------------------------------------------

    def command_status(self) -> dict[str, Any]:
        """Return the state of stream, recording and refinement, with the calibration in use."""
        status = self.receiver.status().to_plain()
        scan = self._scan
        if scan is not None and scan is not self._newest:
            status.update(scan.status())
        elif scan is not None and scan.uid == status["uid"] and scan.ended is not None:
            status["state"] = scan.ended if scan.finished.is_set() else "finishing"
        status.update(
            results="" if scan is None or scan.results is None else str(scan.results),
            refinement={
                **self.refine.refinements.summary(self.compilation.word),
                "waiting": self.refine.waiting,
            },
            places=self.refine.places,
            tuning=self.tune.summary,
            batch=self.batch.summary,
            record=self.recording_wanted and self.config.recording_folder is not None,
            data=self.receiver.address,
            protocol=self.config.protocol,
            control=self.config.control,
            events=events_address(self.config.control),
            metrics="" if self._metrics is None else self._metrics.url,
            dashboard="" if self.config.dashboard is None else f"http://{self.config.dashboard}",
            pids={"server": os.getppid(), "acquire": os.getpid()},
            detectors=self.analysis.command_detectors()["detectors"],
            message="; ".join(filter(None, (stream_warning(status), self.compilation.word, self._message(scan)))),
            **self.calibration.origins(scan),
            map_settings=self.maps.settings,
            restarts=self.restarts,
            recordings_failed=len(self._recording_status.failures),
        )
        if scan is not None:
            status["scan"] = scan.header.scan.model_dump(mode="json")
            status["optics"] = scan.header.optics.model_dump(mode="json")
            status["calibration"] = scan.known.to_plain()
            status.update(dose=scan.dose, memory=scan.memory, computed_on=scan.computed_on)
            status["drift"] = drift_since_first(scan, self.config.drift_bound_A)
        return status

    @property
    def drift(self) -> dict[str, Any] | None:
        """Drift of the newest scan relative to the first scan of the same place."""
        return drift_since_first(self._newest, self.config.drift_bound_A)

    @property
    def recordings_failed(self) -> bool:
        """Whether the recording of any scan failed and has not been completed since."""
        return bool(self._recording_status.failures)

    def _message(self, scan: ScanSession | None) -> str:
        """Return the message of a scan; without any, what went wrong earlier."""
        earlier = self._recording_status.failed or "; ".join(filter(None, (self.notice, *registry.found().problems)))
        return ("" if scan is None else scan.message) or earlier

    def command_snapshot(self, uid: str = "") -> dict[str, Any]:
        """Return state, all current maps, the refinement with its pictures and the kinds of live maps, for a viewer
        that joins late.

        ``uid``: return one of the last scans instead, as it was last shown.
        """
        scan = self._scan
        if uid and (scan is None or scan.uid != uid):
            return self._recent_scans.snapshot(uid)
        run = self.refine.refinements.current
        return {
            "state": self.command_status(),
            "maps": [] if scan is None else list(scan.pictures.values()),
            "refinement": None if run.state == "none" else run.event(pictures=True),
            "map_kinds": registry.describe(),
        }

    def command_watch(self, viewer: str, maps: Iterable[str] | None = None) -> dict[str, Any]:
        """Register which maps a viewer shows; repeat before the lease ends. Without maps the viewer is removed.

        When every receiver of maps is registered, only maps shown by a viewer are renewed at the screen's pace; the
        others are renewed rarely.
        """
        self._subscriptions.shows(str(viewer), maps)
        wanted = self._subscriptions.wanted()
        return {"lease_s": LEASE_S, "maps": None if wanted is None else sorted(wanted)}

    def command_scans(self) -> dict[str, Any]:
        """List the last scans with maps still in memory, newest first; `snapshot` with a `uid` gives their maps."""
        return {"scans": self._recent_scans.list()}

    def command_record(self, on: bool | None = None) -> dict[str, Any]:
        """Return whether scans are recorded; an argument switches recording on or off from the next scan."""
        folder = self.config.recording_folder
        if on is not None:
            if folder is None:
                raise CommandError("this server has no recording folder", "start it without --no-record")
            if not isinstance(on, bool):
                raise CommandError(f"on must be true or false, not {on!r}")
            self.recording_wanted = on
            self.receiver.record(self.recording_wanted)
        return {"on": self.recording_wanted and folder is not None, "folder": str(folder or "")}

    def command_received(self, uid: str) -> dict[str, Any]:
        """Return ranges [first, last) of the frames of a scan that would survive a crash of this program."""
        return {"ranges": [list(pair) for pair in self.receiver.safe_ranges(uid)]}

    def command_save(self) -> dict[str, Any]:
        """Write the current maps next to the recording."""
        scan = self._scan
        if scan is None:
            raise CommandError("there is nothing to save yet")
        with scan.lock:
            if scan.engine is not None and scan.ended is None:  # including maps that no viewer shows
                scan.take(scan.engine.refresh(scan.engine.live_methods), others_stay=True)
        path = save_results(scan, self._command_line, SAVE_PATIENCE_S)
        if path is None:
            raise CommandError("nothing was saved: the scan was not recorded, or has no maps yet")
        return {"results": str(path)}

    def command_shutdown(self) -> dict[str, Any]:
        """End the server after finishing recording and results."""
        self.shutdown_requested.set()
        return {}
