"""One scan as the server sees it: its engine, its files, its latest pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.live.engine import LiveEngine
from ptylive.engine.live.render import Rendering
from ptylive.schema import Arm, Calibration, LiveMap
from ptylive.server.messages import array_to_plain, map_to_plain


@dataclass(eq=False)
class ScanSession:
    """A scan from its arm event to its results.

    ``source`` is the arm as its sender gave it, ``arm`` the same with the user's settings. ``recorded`` is set once
    the recording exists or is known to have failed. ``engine`` belongs to the live thread while frames arrive and to
    the finisher afterwards; ``lock`` guards the hand-over.
    """

    arm: Arm
    engine: LiveEngine | None
    source: Arm
    lock: threading.Lock = field(default_factory=threading.Lock)
    recorded: threading.Event = field(default_factory=threading.Event)
    recording: Path | None = None
    recording_error: str = ""
    ended: str | None = None
    finished: threading.Event = field(default_factory=threading.Event)
    results: Path | None = None
    problem: str = ""
    pictures: dict[str, dict[str, Any]] = field(default_factory=dict)
    rendering: Rendering = field(default_factory=Rendering)

    @property
    def uid(self) -> str:
        """Identity of the scan."""
        return self.arm.uid

    @property
    def calibration(self) -> Calibration:
        """Newest calibration, empty before the first frames."""
        calibration = None if self.engine is None else self.engine.calibration
        return calibration if calibration is not None else Calibration()

    @property
    def message(self) -> str:
        """One sentence when something needs a person."""
        if self.problem:
            return self.problem
        if self.recording_error:
            return f"recording failed: {self.recording_error}"
        missing = self.rendering.missing
        if missing:
            reasons: dict[str, list[str]] = {}
            for name, reason in missing.items():
                reasons.setdefault(reason.split(" needs ")[-1].removeprefix("needs "), []).append(name)
            return "; ".join(f"{', '.join(names)}: needs {what}" for what, names in reasons.items())
        return ""

    def take(self, rendering: Rendering) -> list[dict[str, Any]]:
        """Keep a rendering and return it as payloads of `maps` events, patterns and coverage included."""
        self.rendering = rendering
        if self.engine is None:
            return []
        extra = [self._picture("coverage", self.engine.coverage, "")]
        if self.engine.last_pattern is not None:
            extra.append(self._picture("pattern", self.engine.last_pattern.astype(np.float32), "counts"))
        mean = self.engine.mean_pattern
        if mean is not None:
            extra.append(self._picture("pattern_mean", mean.astype(np.float32), "counts"))
        payloads = extra + [map_to_plain(live_map, self.uid) for live_map in rendering.maps]
        for payload in payloads:
            self.pictures[payload["name"]] = payload
        return payloads

    def map(self, name: str) -> LiveMap | None:
        """The newest map of that name."""
        return next((m for m in self.rendering.maps if m.name == name), None)

    def _picture(self, name: str, data: Any, units: str) -> dict[str, Any]:
        frames = self.engine.store.total_frames if self.engine is not None and self.engine.store is not None else 0
        return {
            "uid": self.uid,
            "name": name,
            "rows": [0, int(data.shape[0])],
            **array_to_plain(data),
            "units": units,
            "sampling_A": None,
            "frames": frames,
            "method": "",
        }
