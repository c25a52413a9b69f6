"""One scan while it arrives: which acquisition numbers are there, and the counts."""

from __future__ import annotations

import time

import numpy as np

from ptylive.schema import ScanHeader
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.events import EndReason, ScanSummary
from ptylive.streamer.frame_pauses import FramePauses
from ptylive.streamer.patience import Patience
from ptylive.streamer.shared_stream import SharedStreamWatch
from ptylive.streamer.wire import EndMessage, FrameLayout

_RATE_WINDOW_S = 1.0
PING_S = 1.0
"""Longest interval at which a sender that pauses says that its scan continues (docs/protocol.md)."""


class ScanProgress:
    """Bookkeeping of one scan, for one writing thread; others may read the counts at any time. Monotonic clock."""

    def __init__(self, header: ScanHeader, *, resumed: bool = False, sent_as: str = "") -> None:
        self.header = header
        self.sent_as = sent_as or header.uid  # the uid its sender uses
        self.layout = FrameLayout.of(header)
        self.resumed = resumed
        self.received: BoolArray = np.zeros(header.frames, dtype=bool)
        self.marks = np.zeros(header.frames, dtype=np.uint32)
        """Marks that distinguish a repeated frame from another of the same number (:mod:`ptylive.streamer.marks`)."""
        self.placed = 0
        self.refused = 0
        self.highest = -1
        self.late = 0
        self.duplicates = 0
        self.unchecked = 0
        """Number of duplicates that cannot be compared: they came in another coding, or after a restart."""
        self.end: EndMessage | None = None
        self.began_at = self.active_at = time.monotonic()
        self.pauses = FramePauses(self.active_at, header.scan.dwell_time_us)
        self.end_requested = False  # by a person: it ends with what has arrived
        self.why_closed = ""
        """Why it was closed without an end message although frames are missing."""
        self.senders = 1
        """Largest number of connections that announced the scan at the same time."""
        self.shared_stream = SharedStreamWatch()
        self.heard = False  # whether the sender has been heard since the scan was (re)opened
        self._first_at: float | None = None
        self._last_at = self.active_at
        self._new_frames = 0
        self._window = (self.active_at, 0)
        self._rate = 0.0

    def fresh(self, first: int, count: int) -> BoolArray:
        """Return which of the ``count`` frames from number ``first`` on have not arrived yet, (count,)."""
        return ~self.received[first : first + count]

    def place(self, first: int, fresh: BoolArray, *, now: float) -> None:
        """Mark those frames of a message as arrived that are new and good: ``fresh`` (count,)."""
        n = int(np.count_nonzero(fresh))
        self.received[first : first + len(fresh)] |= fresh
        self.placed += n
        if n:
            self.pauses.arrived(n, now)
            last = first + int(np.flatnonzero(fresh)[-1])
            if first <= self.highest:
                self.late += int(np.count_nonzero(fresh[: self.highest + 1 - first]))
            self.highest = max(self.highest, last)
        self._first_at = now if self._first_at is None else self._first_at
        self._last_at = now
        self._new_frames += n
        self._update_rate(now)

    def lacks(self, block: FrameBlock) -> bool:
        """Whether a block of consecutive frames belongs to this scan, under its sender's uid, and is all new."""
        first, stop = int(block.index[0]), int(block.index[-1]) + 1
        of_scan = block.uid == self.header.uid == self.sent_as and stop <= self.header.frames
        return of_scan and not self.received[first:stop].any()

    def place_block(self, index: IndexArray, *, now: float, marks: Array | None = None) -> None:
        """Mark new frames, in order of arrival, as arrived; the bookkeeping of :meth:`place` for many frames at once.

        ``marks`` (n,): given where they have not been stored yet.
        """
        self.received[index] = True
        if marks is not None:
            self.marks[index] = marks
        reached = np.maximum.accumulate(np.concatenate(([self.highest], index)))
        self.placed += len(index)
        self.pauses.arrived(len(index), now)
        self.late += int(np.count_nonzero(index < reached[:-1]))
        self.highest = int(reached[-1])
        self._first_at = now if self._first_at is None else self._first_at
        self._last_at = now
        self._new_frames += len(index)
        self._update_rate(now)

    def note_unchecked(self, count: int) -> str:
        """Count duplicates that could not be compared; return the warning to log for the first of them."""
        first = count > 0 and not self.unchecked
        self.unchecked += count
        text = f"frames of scan {self.header.series} count as duplicates, but cannot be compared with those recorded"
        return f"{text}: they came in another encoding, or after a restart of the server" if first else ""

    def restore(self, received: BoolArray) -> None:
        """Take over ``received`` frames (frames,) that an earlier run stored: they count as placed, not received."""
        self.received |= received
        self.placed = int(np.count_nonzero(self.received))
        self.highest = int(np.flatnonzero(self.received)[-1]) if self.placed else -1

    @property
    def complete(self) -> bool:
        """Whether every frame that will ever come has come."""
        wanted = self.header.frames if self.end is None else min(self.end.frames, self.header.frames)
        return self.placed >= wanted

    @property
    def lost(self) -> int:
        """Number of missing frames below the highest number seen, or announced by the end message."""
        reached = (
            self.highest + 1 if self.end is None else max(self.highest + 1, min(self.end.frames, self.header.frames))
        )
        return reached - self.placed

    @property
    def outcome(self) -> EndReason:
        """How the scan would end if it closed now: as its sender reported, and whether frames are missing."""
        if not self.placed or (self.end is not None and self.end.reason == "aborted"):
            return "aborted"
        if self.complete or (self.end is None and not self.header.missing(self.received)):
            return "complete"
        return "aborted" if self.end is None else "incomplete"

    def is_silent(self, patience: Patience) -> bool:
        """Whether the sender has been silent for too long."""
        return time.monotonic() - self.active_at > self._patience_s(patience)

    def is_beside(self, other: ScanProgress, patience: Patience) -> bool:
        """Whether the sender has been heard not too long ago, and since the ``other`` scan began or just before."""
        return self.heard and not self.is_silent(patience) and self.active_at > other.began_at - PING_S

    def is_over(self, patience: Patience) -> bool:
        """Whether an open scan is to be closed: on request, or for silence unless it is still waiting to begin."""
        begun = self.highest >= 0 or self.end is not None
        return self.end_requested or (begun and self.is_silent(patience))

    def final(self, *, by_ping: bool) -> bool:
        """Whether a closed scan stays closed when armed again: it is complete, or ended by a person and only pinged."""
        return self.complete or (by_ping and self.end_requested)

    def closing_warning(self, patience: Patience) -> str:
        """Return the warning for closing the scan without an end message although frames are missing; else empty.

        It is noted in ``why_closed``.
        """
        if self.end is not None or self.outcome != "aborted":
            return ""
        silence = f"its sender sent nothing for {self._patience_s(patience):g} s"
        message = f"scan {self.header.series} was closed: {silence}"
        if self.end_requested:
            message = f"scan {self.header.series} was ended as requested"
        self.why_closed = "this was requested" if self.end_requested else silence
        arrived = f"{self.placed} of its {self.header.frames} frames arrived"
        return f"{message}; {arrived}; frames that still come continue it"

    def waited(self, now: float) -> None:
        """Note that this program was busy until now: waiting for room in the ring is not silence of the sender."""
        self.active_at = now
        self.pauses.not_counted(now)

    def _patience_s(self, patience: Patience) -> float:
        unheard = self.resumed and not self.heard
        return patience.recovery_grace_s if unheard else patience.idle_timeout_s

    def frames_per_s(self, now: float, *, closed: bool) -> float | None:
        """Frame rate over the last second or so; over the whole scan once closed, None if all frames came at once."""
        if closed:
            seconds = self._last_at - (self._first_at or self._last_at)
            return self._new_frames / seconds if seconds > 0 else None
        return self._rate if now - self._last_at < 2 * _RATE_WINDOW_S else 0.0

    def summary(self) -> ScanSummary:
        """Return the counts at the end."""
        seconds = self._last_at - (self._first_at or self._last_at)
        lost = self.header.missing(self.received) if self.end is None else self.lost
        return ScanSummary(self.header.frames, self.placed, lost, self.late, self.duplicates, seconds, self.refused)

    def _update_rate(self, now: float) -> None:
        since, frames = self._window
        if now - since >= _RATE_WINDOW_S:
            self._rate = (self._new_frames - frames) / (now - since)
            self._window = (now, self._new_frames)
        elif self._rate == 0.0 and now > since:
            self._rate = (self._new_frames - frames) / (now - since)
