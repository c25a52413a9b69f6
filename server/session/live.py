"""The live thread: takes frames from the receiver, feeds the engine, and renews pictures at the screen's pace.

Frames come first: refreshes may use a fifth of the time (half for very large scans), and at most five are made per
second. While no frames wait, only this thread's processor time counts, not time when others had the processor.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ptylive.engine.backend.imaging.open import MapDevice, open_map_device
from ptylive.engine.calibrate.bad_pixels import frames_examined, without_hot_pixels
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.imaging.render import Rendering
from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.memory import Scratch
from ptylive.schema import FrameBatch, PtyliveError, ScanHeader
from ptylive.schema.pattern.undistorted import Undistorted
from ptylive.server.process.compilation import CompiledReader
from ptylive.server.session.calibration_events import publish_calibration
from ptylive.server.session.dose_curves import publish_dose_so_far
from ptylive.server.session.kept_patterns import KeptPatterns
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.subscriptions import Subscriptions
from ptylive.server.wire.publisher import Publisher
from ptylive.streamer.events import ArmEvent, EndEvent

LEAST_INTERVAL_S = 0.2
"""Least time between two refreshes: faster changes are hard to follow."""
DUTY, DUTY_LARGE = 0.2, 0.5
"""Share of the time that refreshes may use, and for scans of more than ``LARGE_SCAN`` points, whose maps take long."""
WAIT_S = 2.0
"""How long the maps of a distorted scan wait for the frames in which hot pixels are sought."""
LARGE_SCAN = 512 * 512
REST_INTERVAL_S = 10.0
"""Interval at which maps that no viewer shows are renewed, for late viewers and for the start of a refinement."""
LOOK_INTERVAL_S = 0.1
"""Interval between checks of which maps are shown; checking for every batch is not necessary."""
FRAMES_WAIT = 0.1
"""Ring fill above which wall-clock time counts: frames are then waiting for this thread."""
TAKE_TIMEOUT_S = 0.1
"""How long the thread waits for frames before it looks for other work."""
BACKGROUND_NICENESS = 10
"""Niceness of the threads that calibrate and build filters: next to a busy one they get a tenth of a core."""
TURN_S = 0.0005
"""Thread switch interval of Python (5 ms by default): receiving and reducing need very short turns, but many times a
second, and a calibration must not hold them up.
"""
MOST_THREADS = 8
"""Maximum number of threads that reduce the frames of one batch."""

log = logging.getLogger(__name__)


def lower_priority() -> None:
    """Lower this thread's priority: frames come before calibrations and filters."""
    if sys.platform == "linux":  # elsewhere the priority applies to the whole process
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(BACKGROUND_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


class Resources(NamedTuple):
    """Place for arrays that do not fit in memory, function that finds the device for maps (takes seconds for a GPU),
    and the map settings that a new scan begins with.
    """

    scratch: Scratch
    device: Callable[[], MapDevice]
    map_settings: Callable[[], Mapping[str, float]] = dict


def find_device(backend: str, least_batch_bytes: int) -> MapDevice:
    """Find the device for the maps of a server. A required GPU that is missing is a warning; the CPU is used then."""
    device = open_map_device(backend, least_batch_bytes)
    if backend == "gpu" and device.arrays is None:
        log.warning("no GPU to make maps on: %s; they are made on the CPU", device.why)
    return device


class LiveThread:
    """Thread that feeds one engine after the other.

    ``prepare`` applies the user's settings to a header; ``on_scan`` is called for every new scan, with whether it is
    received alongside the scan being shown; ``on_end`` for every scan that has ended. ``subscriptions``: viewers whose
    maps are renewed; without viewers all maps are. ``resources``: what the engines use.
    """

    def __init__(
        self,
        reader: CompiledReader,
        publisher: Publisher,
        prepare: Callable[[ScanHeader], ScanHeader],
        on_scan: Callable[[ScanSession, bool], None],
        on_end: Callable[[ScanSession, str], None],
        subscriptions: Subscriptions,
        resources: Resources,
    ) -> None:
        self._reader, self._publisher = reader, publisher
        self._prepare, self._on_scan, self._on_end = prepare, on_scan, on_end
        self._scan: ScanSession | None = None
        self._open_scans: dict[str, ScanSession] = {}
        self._subscriptions = subscriptions
        self._rest_due = self._next_look = 0.0
        self._next_refresh = 0.0
        self._dirty = False
        self._builders = ThreadPoolExecutor(1, "filters", lower_priority)
        self._pool = ThreadPool(min(MOST_THREADS, os.cpu_count() or 1))
        self._resources = resources
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        """Start the thread; the threads of this process switch more often from now on."""
        sys.setswitchinterval(TURN_S)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the ring is closed and has been read to its end."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return  # still computing: its resources must stay
        self._builders.shutdown(wait=False, cancel_futures=True)
        self._pool.close()

    def turn_to(self, scan: ScanSession) -> None:
        """Renew the maps of a scan that continues after a parallel one ended; called by ``on_end`` of the latter."""
        if self._open_scans.get(scan.uid) is scan:
            self._scan = scan
            self._dirty, self._next_refresh, self._next_look = True, 0.0, 0.0

    def _run(self) -> None:
        self._resources.device()
        while not self._reader.finished:
            item = self._reader.take(TAKE_TIMEOUT_S)
            try:
                if isinstance(item, ArmEvent):
                    self._open(item.header, beside=item.beside)
                elif isinstance(item, FrameBatch):
                    self._feed(item)
                elif isinstance(item, EndEvent):
                    self._close(item)
                self._refresh_when_due()
            except Exception as error:
                log.exception("the live engine failed")
                if self._scan is not None:
                    self._scan.problem = f"live maps stopped: {error}"
                    self._dirty = False

    def _open(self, header: ScanHeader, *, beside: bool) -> None:
        """Begin a scan, and show it unless it is received ``beside`` another scan."""
        source, engine, flat, problem = header, None, None, ""
        settings: Mapping[str, float] = {}
        try:
            flat = Undistorted.of(source)
            source = source if flat is None else flat.header
            header = self._prepare(source)
            settings = self._resources.map_settings()
            engine = self._engine(header, settings)
        except PtyliveError as error:
            problem = error.line()
        scan = self._open_scans[header.uid] = ScanSession(
            header, engine, source, problem=problem, map_settings=settings, kept=KeptPatterns(header), flat=flat
        )
        self._on_scan(scan, beside)
        if beside:
            return
        self._scan = scan
        self._dirty, self._next_refresh, self._next_look = False, 0.0, 0.0
        self._rest_due = time.monotonic() + REST_INTERVAL_S  # filters of the maps being shown come first

    def _engine(self, header: ScanHeader, settings: Mapping[str, float]) -> LiveEngine:
        """Make the engine of a scan. Raises PtyliveError."""
        scratch, device, _ = self._resources
        return LiveEngine(
            header,
            background=self._builders,
            pool=self._pool,
            scratch=scratch,
            device=device(),
            settings=settings,
        )

    def _feed(self, batch: FrameBatch) -> None:
        scan = self._open_scans.get(batch.uid)
        if scan is None or scan.engine is None:
            return
        for own in [batch] if scan.flat is None else self._corrected(scan, scan.flat, batch):
            self._take(scan, own)

    def _take(self, scan: ScanSession, batch: FrameBatch) -> None:
        """Process a batch of frames corrected for distortion."""
        with scan.lock:
            if scan.engine is not None:
                scan.engine.add(batch)
            if scan.kept is not None:
                scan.kept.add(batch)
            if scan.detectors is not None:
                scan.detectors.add(batch)
        self._dirty |= scan is self._scan

    def _corrected(self, scan: ScanSession, flat: Undistorted, batch: FrameBatch) -> list[FrameBatch]:
        """Return the distortion-corrected batches that are ready; none before enough frames to find hot pixels.

        The first frames are held back together, so that the hot pixels found are those the recording will show; in a
        slow scan only for a while. The frames received by then are shown without the hot pixels found in them.
        """
        if scan.looked_over:
            return [flat.batch(batch)]
        now = time.monotonic()
        scan.waits_since = scan.waits_since if scan.waiting else now
        scan.waiting.append(FrameBatch(batch.uid, batch.index.copy(), np.array(batch.frames)))
        waiting = sum(len(part.index) for part in scan.waiting)
        if waiting >= frames_examined(flat.recorded):
            return self._without_hot_pixels(scan, flat)
        if scan.early is None and now - scan.waits_since < WAIT_S:
            return []
        new, scan.early_batches = scan.waiting[scan.early_batches :], len(scan.waiting)
        if scan.early is None:
            scan.early = self._cleaned(scan, flat, flat)
        return [scan.early.batch(part) for part in new]

    def _without_hot_pixels(self, scan: ScanSession, flat: Undistorted) -> list[FrameBatch]:
        """Return the frames that were held back, without the hot pixels found in them as recorded.

        If fewer of these frames had shown different hot pixels, the maps start afresh with all of them.
        """
        early, waiting = scan.early, scan.waiting
        clean = self._cleaned(scan, flat, flat if early is None else early)
        scan.looked_over, scan.waiting, scan.early, scan.flat = True, [], None, clean
        if early is not None and clean is not early:
            self._begin_anew(scan)
        elif early is not None:
            waiting = waiting[scan.early_batches :]
        return [clean.batch(batch) for batch in waiting]

    @staticmethod
    def _cleaned(scan: ScanSession, flat: Undistorted, before: Undistorted) -> Undistorted:
        """Return ``flat`` without the hot pixels of the waiting frames and update the scan; ``before`` if unchanged."""
        index = np.concatenate([each.index for each in scan.waiting])
        frames = np.concatenate([each.frames for each in scan.waiting])
        first = np.argsort(index, kind="stable")[: frames_examined(flat.recorded)]
        clean = without_hot_pixels(flat, frames[first], before)
        if clean is not before:
            scan.source = clean.header
            arrays = {name: each for name, each in scan.header.arrays.items() if name != "bad_pixel_mask"}
            mask = clean.header.arrays.get("bad_pixel_mask")
            scan.remake(replace(scan.header, arrays=arrays if mask is None else {**arrays, "bad_pixel_mask": mask}))
        return clean

    def _begin_anew(self, scan: ScanSession) -> None:
        """Forget the frames of a scan: they are added again with a different distortion correction."""
        with scan.lock:
            scan.engine = self._engine(scan.header, scan.map_settings)
            scan.kept = None if scan.kept is None else KeptPatterns(scan.header)
            if scan.detectors is not None:
                scan.detectors.begin_anew(scan.header)

    def _close(self, end: EndEvent) -> None:
        scan = self._open_scans.pop(end.uid, None)
        if scan is None:
            return
        try:
            if scan.flat is not None and scan.waiting:  # the scan ended early
                for batch in self._without_hot_pixels(scan, scan.flat):
                    self._take(scan, batch)
            if scan is self._scan:
                self._refresh(scan)  # show the last rows at once; the final fit takes a moment
        finally:  # results are made whatever happened to the live maps
            self._scan = None if scan is self._scan else self._scan
            scan.ended = end.reason
            self._on_end(scan, end.reason)

    def _refresh_when_due(self) -> None:
        now = time.monotonic()
        if now >= self._next_look and self._scan is not None and self._scan.engine is not None:
            self._next_look = now + LOOK_INTERVAL_S
            self._show_picked(self._scan, self._scan.engine)
        if now >= self._next_refresh:
            self._refresh(self._scan)

    def _show_picked(self, scan: ScanSession, engine: LiveEngine) -> None:
        """Make a map that a viewer has just chosen at once, or start making its filters: a refresh may not be due for
        a while, and without new frames is never due.
        """
        before = engine.wanted
        engine.want(self._subscriptions.wanted())
        picked = engine.wanted - before
        if not picked or engine.store is None:
            return
        with scan.lock:
            payloads = scan.take(engine.refresh(picked), others_stay=True)
        for payload in payloads:
            self._publisher.publish("maps", payload)

    def _rendered(self, engine: LiveEngine) -> Rendering:
        """Render the maps being shown; now and then the others too."""
        now = time.monotonic()
        if now < self._rest_due:
            return engine.refresh()
        self._rest_due = now + REST_INTERVAL_S
        return engine.refresh(engine.live_methods)

    def _refresh(self, scan: ScanSession | None) -> None:
        """Renew the pictures from what has arrived, if anything is new, and publish them."""
        now, processor = time.monotonic(), time.thread_time()
        if scan is None or scan.engine is None or not (self._dirty or scan.engine.has_news):
            return
        with scan.lock:
            rendering = self._rendered(scan.engine)
            if scan.detectors is not None and scan.detectors.may_be_placed(scan.calibration):
                scan.place_detectors()
            payloads = scan.take(rendering, others_stay=True) if rendering.maps else []
        for payload in payloads:
            self._publisher.publish("maps", payload)
        publish_calibration(self._publisher, scan)
        publish_dose_so_far(self._publisher, scan)
        self._dirty = False
        spent = time.thread_time() - processor
        if self._reader.ring_fill > FRAMES_WAIT:
            spent = time.monotonic() - now
        rows, cols = scan.header.scan.require_shape()
        duty = DUTY_LARGE if rows * cols > LARGE_SCAN else DUTY
        late = min(now - self._next_refresh, LEAST_INTERVAL_S / 2)  # otherwise five a second would become four
        self._next_refresh = now - late + max(LEAST_INTERVAL_S, spent / duty)
