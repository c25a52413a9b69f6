"""A scan as the streamer keeps it: its progress, where it is recorded, and what of it is safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import Arm
from ptylive.schema.model import BoolArray
from ptylive.streamer.events import EndReason, RecordingState, StreamState
from ptylive.streamer.journal import Journal
from ptylive.streamer.progress import ScanProgress


@dataclass
class ScanRecord:
    """One scan, open or closed. ``safe``: frames that survive a crash; without a recording, those that arrived."""

    progress: ScanProgress
    safe: BoolArray
    target: Path | None = None
    journal: Journal | None = None
    reason: EndReason | None = None
    recording_state: RecordingState = "off"
    recording_error: str = ""

    @classmethod
    def new(cls, arm: Arm, *, resumed: bool = False) -> ScanRecord:
        """A scan of which nothing has arrived and nothing is recorded."""
        progress = ScanProgress(arm, resumed=resumed)
        return cls(progress, progress.received)

    @classmethod
    def stored(cls, arm: Arm, received: BoolArray, target: Path) -> ScanRecord:
        """A closed scan of which ``received`` is on the disk."""
        progress = ScanProgress(arm, resumed=True)
        progress.restore(received)
        reason: EndReason = "complete" if progress.complete else "aborted"
        return cls(progress, np.array(received, dtype=bool), target, reason=reason, recording_state="complete")

    @property
    def uid(self) -> str:
        """The scan's identity."""
        return self.progress.arm.uid

    @property
    def closed(self) -> bool:
        """Whether the scan has ended."""
        return self.reason is not None

    @property
    def state(self) -> StreamState:
        """State of the stream while this scan is the one shown."""
        if self.reason is None:
            if self.progress.end is not None:
                return "finishing"
            return "scanning" if self.progress.placed else "armed"
        if self.recording_state == "failed":
            return "failed"
        return "finishing" if self.recording_state == "converting" else self.reason
