"""The pictures of the last scans, kept in memory while the next ones arrive."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptylive.schema import CommandError
from ptylive.server.session.scan_session import ScanSession

MOST_SCANS = 24
MOST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class RecentScan:
    """A scan as it was last shown; its pictures are payloads of `maps` events, shared and never changed."""

    state: Mapping[str, Any]
    pictures: Mapping[str, Mapping[str, Any]] = field(repr=False)
    time: float

    @classmethod
    def of(cls, scan: ScanSession) -> RecentScan:
        """Return what a scan shows now."""
        state = {
            **scan.status(),
            "state": scan.ended or "scanning",
            "scan": scan.header.scan.model_dump(mode="json"),
            "optics": scan.header.optics.model_dump(mode="json"),
            "calibration": scan.known.to_plain(),
        }
        return cls(state, dict(scan.pictures), time.time())

    @property
    def bytes(self) -> int:
        """Memory used by its pictures."""
        return sum(len(picture["data"]) for picture in self.pictures.values())

    def summary(self) -> dict[str, Any]:
        """Return the entry listed by the command `scans`."""
        names = ("uid", "series", "state", "frames", "expected")
        return {**{name: self.state[name] for name in names}, "time": self.time, "maps": sorted(self.pictures)}


class RecentScans:
    """The most recent scans, newest last, bounded in number and memory. Callable from any thread."""

    def __init__(self, most_scans: int = MOST_SCANS, most_bytes: int = MOST_BYTES) -> None:
        self._most_scans, self._most_bytes = most_scans, most_bytes
        self._scans: OrderedDict[str, RecentScan] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, scan: ScanSession) -> None:
        """Keep what a scan shows now, in its existing place if it has one; the oldest scans are dropped."""
        recent = RecentScan.of(scan)
        with self._lock:
            self._scans[scan.uid] = recent
            while len(self._scans) > 1 and (len(self._scans) > self._most_scans or self._bytes > self._most_bytes):
                self._scans.popitem(last=False)

    @property
    def _bytes(self) -> int:
        return sum(scan.bytes for scan in self._scans.values())

    def list(self) -> list[dict[str, Any]]:
        """Return summaries of all scans kept, newest first."""
        with self._lock:
            return [scan.summary() for scan in reversed(self._scans.values())]

    def snapshot(self, uid: str) -> dict[str, Any]:
        """Return state and maps of a scan, in the form `snapshot` gives for the current one. Raises CommandError."""
        with self._lock:
            recent = self._scans.get(uid)
        if recent is None:
            raise CommandError(f"the maps of scan {uid!r} are not in memory", "see the commands scans and history")
        return {"state": dict(recent.state), "maps": list(recent.pictures.values()), "refinement": None}
