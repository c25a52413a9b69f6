"""One scan as the server holds it: its engine, its files, its latest pictures."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.remarks.of_counts import mean_remarks
from ptylive.application.remarks.of_scan import remarks
from ptylive.engine.calibrate.detector import given_quantities
from ptylive.engine.imaging.declaration import DETECTOR_PREFIX
from ptylive.engine.imaging.render import Rendering
from ptylive.engine.imaging.virtual_detectors import DetectorBank, DetectorContext
from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.live.evaluation import backend_of
from ptylive.engine.repeats.repeated_scan import dose_per_A2
from ptylive.schema import Calibration, FrameBatch, LiveMap, ScanHeader
from ptylive.schema.model import BoolArray, DoubleArray, FloatArray
from ptylive.schema.pattern.undistorted import Undistorted
from ptylive.server.session.kept_patterns import KeptPatterns
from ptylive.server.wire.messages import array_to_plain, map_to_plain
from ptylive.streamer.events import RecordingState

DOSE_PATIENCE_S = 0.05
"""Longest wait of `status` for frames being summed; after that it reports the previous dose."""


@dataclass(eq=False)
class ScanSession:
    """A scan from its arm event to its results.

    ``source`` is the header as sent, ``header`` the same with the user's settings. ``recorded`` is set once the
    recording exists or is known to have failed. ``engine`` belongs to the live thread while frames arrive and to the
    finisher afterwards; ``lock`` guards the hand-over.
    """

    header: ScanHeader
    engine: LiveEngine | None
    source: ScanHeader
    flat: Undistorted | None = field(default=None, kw_only=True)
    """Correction of its frames for distortion; ``source`` then describes the corrected frames."""
    looked_over: bool = False
    """Whether hot pixels have been sought, which comes before frames are corrected for distortion."""
    waiting: list[FrameBatch] = field(default_factory=list)
    """Frames, as recorded, that wait for that search."""
    waits_since: float = 0.0
    early: Undistorted | None = None
    """Correction used for the first of the waiting frames, so that maps need not wait for all of them."""
    early_batches: int = 0
    """Number of waiting batches already used for maps."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    saving: threading.Lock = field(default_factory=threading.Lock)
    """Held while the results are written; acquired before ``lock``, never after it."""
    recorded: threading.Event = field(default_factory=threading.Event)
    recording: Path | None = None
    recording_error: str = ""
    recorded_late: str = ""
    """What its recording holds if it failed at first: as many of its frames as were written."""
    recording_waits: str = ""
    """Why frames wait for the recording folder; empty if they do not."""
    compressed: bool = False
    """Whether coefficients of the recording have been written."""
    ended: str | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    requests: int = 0
    """Number of times the finisher was asked to make its results."""
    made: int = 0
    """Latest of these requests that the results satisfy; with a steady stream of new values it is never the last."""
    results: Path | None = None
    problem: str = ""
    """Why its maps could not be made; empty once they have been made after all."""
    unsaved: str = ""
    """Why its maps could not be written into its results; empty once they have been written after all."""
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    rendering: Rendering = field(default_factory=Rendering)
    coverage: BoolArray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    """Scan points (rows, cols) included in the pictures."""
    kept: KeptPatterns | None = None
    """Patterns kept while the scan arrives; None once there is a recording."""
    detectors: DetectorBank | None = None
    reported_problems: set[str] = field(default_factory=set)
    """Problems of its virtual detectors that have been reported already, one line each."""
    values: dict[str, Any] = field(default_factory=dict)
    """Values a user gave for this scan, under flat names; None: withdrawn, to be estimated."""
    estimating: tuple[tuple[str, ...], Calibration] | None = None
    """Quantities that a user asked to estimate, and the calibration before the fit that does."""
    map_settings: Mapping[str, float] = field(default_factory=dict)
    """Validated settings of its live maps."""
    stored: Calibration | None = None
    """Calibration of a scan that was opened from its files."""
    sampled: DoubleArray | None = None
    """Mean pattern of an opened scan, from frames spread over it."""
    dose_curve: dict[str, Any] | None = None
    """What its dose achieves, and what more dose would (docs/dose.md)."""
    reported_calibration: dict[str, Any] = field(default_factory=dict)
    """Calibration last published to listeners."""
    _remarks: tuple[tuple[Any, ...], list[str]] = ((), [])
    """The objects that the last remarks were derived from, and those remarks."""

    @property
    def uid(self) -> str:
        """Identity of the scan."""
        return self.header.uid

    @property
    def calibration(self) -> Calibration:
        """Newest calibration; empty before the first frames."""
        calibration = self.stored if self.engine is None else self.engine.calibration
        return calibration if calibration is not None else Calibration()

    @property
    def known(self) -> Calibration:
        """Calibration for display: before the first frames, the values that the header states."""
        calibration = self.calibration
        return calibration if calibration.entries else Calibration(given_quantities(self.header))

    def configure(self, header: ScanHeader) -> None:
        """Use other values while frames arrive; calibration and filters follow."""
        with self.lock:
            self.header = header
            if self.engine is not None:
                self.engine.configure(header)

    def remake(self, header: ScanHeader) -> None:
        """Set other values for a finished scan, to be used when it is finished again."""
        with self.lock:
            self.header = header
            if self.engine is not None:
                self.engine.adopt(header)

    def use_map_settings(self, settings: Mapping[str, float]) -> None:
        """Change its map settings, used from the next refresh while frames arrive, otherwise when finished again."""
        with self.lock:
            self.map_settings = dict(settings)
            if self.engine is not None:
                self.engine.use_settings(settings)

    @property
    def dose(self) -> dict[str, Any]:
        """Mean dose of the scan per Å²: in electrons if counts per electron are given, otherwise in counts."""
        per_A2, unit = dose_per_A2(self.header, self.mean)
        curve = {} if self.dose_curve is None else {"curve": self.dose_curve}
        if per_A2 is None:
            return curve
        return {"per_A2": per_A2, "unit": unit, "saturated_frames": self.saturated_frames, **curve}

    @property
    def mean(self) -> DoubleArray | None:
        """Mean pattern of the frames received so far, or as of a moment ago."""
        return self.sampled if self.engine is None else self.engine.recent_mean(DOSE_PATIENCE_S)

    @property
    def saturated_frames(self) -> int:
        """Number of frames with saturated pixels, if the detector's saturation value is known."""
        store = None if self.engine is None else self.engine.store
        return 0 if store is None else store.saturated_frames

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of coefficients and their transforms, and how many of these did not fit in memory and are in files."""
        whole, in_files = (0, 0) if self.engine is None else self.engine.memory
        return {"bytes": whole, "in_files": in_files}

    @property
    def computed_on(self) -> dict[str, str]:
        """Device used for each part of the live maps, and why not the GPU; empty for results that were only read."""
        return {} if self.engine is None else self.engine.computed_on

    @property
    def backend(self) -> str:
        """Backend that made the maps: ``gpu`` if a GPU was used for any part."""
        return backend_of(self.computed_on)

    def status(self) -> dict[str, Any]:
        """Return what `status` reports for an opened past scan, in place of the stream."""
        frames = int(np.count_nonzero(self.coverage))
        expected = int(np.prod(self.header.scan.require_shape())) if self.header.scan.shape else self.header.frames
        return {
            "state": self.ended if self.finished.is_set() else "finishing",
            "series": self.header.series,
            "uid": self.uid,
            "expected": expected,
            "received": frames,
            "frames": frames,
            "lost": expected - frames,
            "refused": 0,
            "late": 0,
            "duplicates": 0,
            "unchecked": 0,
            "rejected": {},
            "frames_per_s": None,
            "silent_s": None,
            "why_closed": "",
            "recording": str(self.recording or ""),
            "recording_state": self.recording_state,
            "recording_error": self.recording_error,
        }

    @property
    def recording_state(self) -> RecordingState:
        """State of its recording."""
        if self.recording_error or self.recording_waits:
            return "failed" if self.recording_error else "waiting"
        written: RecordingState = "complete" if self.recorded.is_set() else "writing"
        return written if self.recording else "off"

    @property
    def message(self) -> str:
        """One sentence when something needs the user's attention."""
        failed = f"recording failed: {self.recording_error}" if self.recording_error else ""
        waits = f"recording waits: {self.recording_waits}" if self.recording_waits else ""
        late = self.recorded_late if not self.recorded_late.startswith(f"{self.header.frames} of ") else ""
        recorded = f"recorded after all, as far as there was room: {late}" if late else ""
        if problems := "; ".join(filter(None, (self.problem, failed or waits or recorded, self.unsaved))):
            return problems
        notes = self._remarked()
        missing = self.rendering.missing
        if missing:
            reasons: dict[str, list[str]] = {}
            for name, reason in missing.items():
                _, needs, requirement = reason.rpartition("needs ")
                reasons.setdefault(f"{needs}{requirement}", []).append(name)
            lacking = [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]
            return "; ".join([*lacking, *notes])
        return "; ".join(notes)

    def _remarked(self) -> list[str]:
        """Return remarks on the scan, computed once per refresh, since its message is read four times a second."""
        of = (self.source, self.header, self.rendering)
        before, found = self._remarks
        if len(before) != len(of) or any(a is not b for a, b in zip(before, of, strict=True)):
            mean = self.mean
            found = remarks(self.source, self.header, self.calibration, mean)
            if mean is not None and self.header.basis.is_raw:
                found = [*mean_remarks(mean, self.header.arrays.get("bad_pixel_mask")), *found]
            self._remarks = of, found
        return found

    def take(self, rendering: Rendering, *, others_stay: bool = False) -> list[dict[str, Any]]:
        """Keep a rendering and return it as payloads of `maps` events, including patterns and coverage.

        ``others_stay``: keep maps of the last rendering that are not in this one as they were.
        """
        before, self.rendering = self.rendering, rendering
        if self.engine is None:
            return []
        rendering.maps.extend(self._detector_maps())
        if others_stay:
            new_names = {live_map.name for live_map in rendering.maps}
            older = [m for m in before.maps if m.name not in new_names and not m.name.startswith(DETECTOR_PREFIX)]
            self.rendering = Rendering([*rendering.maps, *older], rendering.missing)
        self.coverage = self.engine.coverage
        extra = [self._picture("coverage", self.coverage, "")]
        if self.engine.last_pattern is not None:
            extra.append(self._picture("pattern", self.engine.last_pattern.astype(np.float32), "counts"))
        mean = self.engine.mean_pattern
        if mean is not None:
            extra.append(self._picture("pattern_mean", mean.astype(np.float32), "counts"))
        return self._keep(extra + [map_to_plain(live_map, self.uid) for live_map in rendering.maps])

    def take_stored(self, coverage: BoolArray, rendering: Rendering) -> None:
        """Adopt the contents of a results file."""
        self.coverage, self.rendering = coverage, rendering
        self._keep([self._picture("coverage", coverage, "")])
        self._keep([map_to_plain(live_map, self.uid) for live_map in rendering.maps])

    def take_sample(self, mean: FloatArray, last: FloatArray) -> list[dict[str, Any]]:
        """Adopt patterns read from the recording of an opened scan; return payloads of `maps` events."""
        self.sampled = np.asarray(mean, dtype=np.float64)
        return self._keep([self._picture("pattern", last, "counts"), self._picture("pattern_mean", mean, "counts")])

    def take_detectors(self) -> list[dict[str, Any]]:
        """Renew only the maps of the virtual detectors; return payloads of `maps` events."""
        fresh = self._detector_maps()
        other_maps = [m for m in self.rendering.maps if not m.name.startswith(DETECTOR_PREFIX)]
        self.rendering = Rendering([*other_maps, *fresh], self.rendering.missing)
        return self._keep([map_to_plain(live_map, self.uid) for live_map in fresh])

    def place_detectors(self, mean_pattern: DoubleArray | None = None) -> list[str]:
        """Place the written virtual detectors from what is known about the scan; return one line per failure.

        ``mean_pattern`` (Qy, Qx): used in place of the engine's; nothing is placed while neither is known.
        """
        mean = self.engine.mean_pattern if mean_pattern is None and self.engine is not None else mean_pattern
        if self.detectors is None or mean is None:
            return []
        header = self.header if self.engine is None else self.engine.header
        return self.detectors.place(DetectorContext(self.calibration, mean, header.arrays.get("bad_pixel_mask")))

    def _detector_maps(self) -> list[LiveMap]:
        return [] if self.detectors is None else self.detectors.maps(self.frames_seen)

    def _keep(self, payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for payload in payloads:
            self.pictures[payload["name"]] = payload
        return payloads

    @property
    def frames_seen(self) -> int:
        """Number of frames used for maps and calibration."""
        if self.engine is not None and self.engine.store is not None:
            return self.engine.store.total_frames
        return int(np.count_nonzero(self.coverage))

    def map(self, name: str) -> LiveMap | None:
        """Return the newest map of that name."""
        return next((m for m in self.rendering.maps if m.name == name), None)

    def _picture(self, name: str, data: Any, units: str) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "name": name,
            "rows": [0, int(data.shape[0])],
            **array_to_plain(data),
            "units": units,
            "sampling_A": None,
            "frames": self.frames_seen,
            "method": "",
        }
