"""A scan as the streamer keeps it: its progress, where it is recorded, and which frames are safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import ScanHeader
from ptylive.schema.model import BoolArray
from ptylive.streamer.events import EndReason, RecordingState, StreamState
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.recording.journal import Journal


@dataclass(eq=False)
class ScanRecord:
    """One scan, open or closed. ``safe``: frames that survive a crash; without a recording, those that arrived.

    armed_with: number of frames when its uid was last armed; from_file: its data come from its recording, whose marks
    have not been read; of_earlier_run: this process has received nothing of it.
    """

    progress: ScanProgress
    safe: BoolArray
    target: Path | None = None
    journal: Journal | None = None
    reason: EndReason | None = None
    recording_state: RecordingState = "off"
    recording_error: str = ""
    armed_with: int = 0
    from_file: bool = False
    of_earlier_run: bool = False

    @classmethod
    def new(cls, header: ScanHeader, *, resumed: bool = False, sent_as: str = "") -> ScanRecord:
        """Make a scan of which nothing has arrived and nothing is recorded."""
        progress = ScanProgress(header, resumed=resumed, sent_as=sent_as)
        return cls(progress, progress.received)

    @classmethod
    def stored(cls, header: ScanHeader, received: BoolArray, target: Path) -> ScanRecord:
        """Make a closed scan of which the frames ``received`` (frames,) are on the disk."""
        progress = ScanProgress(header, resumed=True)
        progress.restore(received)
        safe = np.array(received, dtype=bool)
        scan = cls(progress, safe, target, reason=progress.outcome, recording_state="complete", from_file=True)
        scan.of_earlier_run = True
        return scan

    def restore(self, received: BoolArray) -> None:
        """Add frames to a closed scan that an earlier run has put on the disk: ``received`` (frames,)."""
        self.progress.restore(received)
        self.safe, self.reason = self.progress.received.copy(), self.progress.outcome

    @property
    def uid(self) -> str:
        """Uid of the scan."""
        return self.progress.header.uid

    @property
    def armed_again(self) -> bool:
        """Whether its uid was armed once more after frames had arrived, so that other data may be another scan."""
        return self.armed_with > 0

    def begins_anew(self, first: int) -> bool:
        """Whether frames from ``first`` on, with other data than the scan's, are the first ones of another scan: they
        come directly after the arm message, and their numbers begin at 0.
        """
        return self.armed_again and self.progress.placed == self.armed_with and first == 0

    @property
    def busy(self) -> bool:
        """Whether its sender is in the middle of sending it."""
        progress = self.progress
        return self.reason is None and progress.placed > 0 and progress.end is None and progress.heard

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
