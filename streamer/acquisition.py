"""From messages to scans: placing, recording, handing on. Knows no sockets; one thread calls :meth:`handle`.

Rules (docs/protocol.md): a new uid closes the scan before it; the same uid is a resend and changes nothing; a scan
closes at its last frame, or when its sender falls silent. First the journal, then the ring, so that whatever the live
engine shows can be recovered.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import Arm, FrameBatch, WireError
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.events import Announcer, ArmEvent, EndEvent, EndReason, StreamStatus
from ptylive.streamer.journal import SUFFIX
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.recordings import Recordings
from ptylive.streamer.recovery import stored_batches
from ptylive.streamer.ring import Ring
from ptylive.streamer.scans import ScanRecord
from ptylive.streamer.wire import (
    ArmMessage,
    EndMessage,
    FramesMessage,
    Message,
    PingMessage,
    check_size,
    decode_frames,
    runs_of,
)

_REMEMBERED_SCANS = 16


@dataclass(frozen=True)
class Patience:
    """How long a silent sender is waited for, s: in the middle of a scan, and after a restart of this program."""

    idle_timeout_s: float = 5.0
    recovery_grace_s: float = 10.0


class Acquisition:
    """The scan that is being received, the ones before it, and their way into journal and ring."""

    def __init__(self, ring: Ring, folder: Path | None, patience: Patience, announcer: Announcer) -> None:
        self._ring = ring
        self._patience = patience
        self._announcer = announcer
        self._recordings = Recordings(folder, announcer)
        self._current: ScanRecord | None = None
        self._shown: ScanRecord | None = None
        self._closed: OrderedDict[str, ScanRecord] = OrderedDict()
        self._rejected: Counter[str] = Counter()

    def record(self, wanted: bool) -> None:
        """Whether scans that begin from now on are recorded, where there is a folder; callable from any thread."""
        self._recordings.wanted = wanted

    def status(self) -> StreamStatus:
        """The state of the stream; callable from any thread."""
        scan, rejected = self._shown, dict(self._rejected)
        fill, lag = self._ring.fill, self._ring.lag_s
        if scan is None:
            return StreamStatus(rejected=rejected, ring_fill=fill, lag_s=lag)
        progress = scan.progress
        return StreamStatus(
            state=scan.state,
            series=progress.arm.series,
            uid=scan.uid,
            expected=progress.arm.frames,
            received=progress.placed + progress.duplicates,
            frames=progress.placed,
            lost=progress.summary().lost if scan.closed else progress.lost,
            late=progress.late,
            duplicates=progress.duplicates,
            rejected=rejected,
            frames_per_s=progress.frames_per_s(time.monotonic(), closed=scan.closed),
            lag_s=lag,
            ring_fill=fill,
            recording="" if scan.target is None else str(scan.target),
            recording_state=scan.recording_state,
            recording_error=scan.recording_error,
        )

    def safe_ranges(self, uid: str) -> list[tuple[int, int]]:
        """Half-open ranges of the frames of a scan that would survive a crash; callable from any thread."""
        current = self._current
        scan = current if current is not None and current.uid == uid else self._closed.get(uid)
        if scan is None:
            scan = self._recordings.find(uid)
        return [] if scan is None else list(runs_of(scan.safe[: scan.progress.highest + 1]))

    def arm_of(self, uid: str) -> Arm | None:
        """A scan as it is stored, by this run or an earlier one; None when nothing is known of it."""
        current = self._current
        known = current if current is not None and current.uid == uid else self._known(uid)
        return None if known is None else known.progress.arm

    def open_arm(self) -> Arm | None:
        """The scan that is open, as it is stored."""
        return None if self._current is None else self._current.progress.arm

    @property
    def hears_a_sender(self) -> bool:
        """Whether the open scan has a sender, so that a ping of another one must not take its place."""
        current = self._current
        return current is not None and (current.progress.heard or not current.progress.resumed)

    def handle(self, message: Message) -> None:
        """Take in one message. Raises WireError when it does not fit the scan it names."""
        if isinstance(message, FramesMessage):
            self._on_frames(message)
        elif isinstance(message, ArmMessage):
            self._on_arm(message.arm, message.problems, by_ping=False)
        elif isinstance(message, EndMessage):
            self._on_end(message)
        else:
            self._on_ping(message)

    @property
    def open_scan(self) -> ScanProgress | None:
        """The scan that frames are taken for."""
        return None if self._current is None else self._current.progress

    def take_block(self, block: FrameBlock) -> None:
        """Take in patterns that the compiled loop has received: of the open scan, new and checked."""
        scan = self._current
        if scan is None or scan.uid != block.uid:
            raise WireError(f"frames of the closed scan {block.uid}", "closed_scan")
        progress = scan.progress
        progress.heard, progress.active_at = True, time.monotonic()
        for start, stop in block.runs():
            if (warning := progress.stride.observe(int(block.index[start]), stop - start)) is not None:
                self._announcer.log("warning", warning)
        self._recordings.write_block(scan, block)
        progress.place_block(block.index, now=progress.active_at)
        self._ring.put(block.batch)
        progress.active_at = time.monotonic()
        if progress.complete:
            self._close(scan, _reason(progress))

    def reject(self, error: WireError) -> None:
        """Count a refused message or pattern and say so: the first of its kind, then every tenth, hundredth, …"""
        self._rejected[error.reason] += 1
        count = self._rejected[error.reason]
        if count == 10 ** (len(str(count)) - 1):
            self._announcer.log("warning", f"{error} (rejected as {error.reason}, {count} so far)")

    def tick(self) -> None:
        """Close a scan whose sender has fallen silent. A scan still waiting for its first frame waits on."""
        scan = self._current
        if scan is None or (scan.progress.highest < 0 and scan.progress.end is None):
            return
        unheard = scan.progress.resumed and not scan.progress.heard
        patience_s = self._patience.recovery_grace_s if unheard else self._patience.idle_timeout_s
        if time.monotonic() - scan.progress.active_at > patience_s:
            self._close(scan, _reason(scan.progress))

    def recover(self) -> None:
        """Take up what an earlier run left in the recording folder: resume the last scan cut off, convert the rest."""
        found = self._recordings.leftovers()
        cut_off = [leftover for leftover in found if leftover.end is None and leftover.received.any()]
        for leftover in found:
            if cut_off and leftover is cut_off[-1]:
                self._announcer.log("info", f"resuming the scan of {leftover.path.name}")
                self._resume(leftover.arm, leftover.path, leftover.keep_bytes)
            else:
                self._remember(self._recordings.convert(leftover))

    def stop(self, timeout_s: float) -> None:
        """Close the open scan and finish its recording; what takes longer than ``timeout_s`` is left as a journal."""
        if self._current is not None:
            self._close(self._current, "aborted")
        self._recordings.stop(timeout_s)

    def _on_frames(self, message: FramesMessage) -> None:
        scan = self._current
        if scan is None or scan.uid != message.uid:
            self._on_frames_of_closed(message)
            return
        progress = scan.progress
        _check(message, progress)
        fresh = progress.fresh(message.first, message.count)
        progress.heard, progress.active_at = True, time.monotonic()
        if (warning := progress.stride.observe(message.first, message.count)) is not None:
            self._announcer.log("warning", warning)
        progress.duplicates += message.count - int(np.count_nonzero(fresh))
        if not fresh.any():
            return
        frames, good, problems = decode_frames(message, progress.layout)
        for problem in problems:
            self.reject(problem)
        fresh &= good
        if not fresh.any():
            return
        self._recordings.write(scan, message, fresh)
        progress.place(message.first, fresh, now=progress.active_at)
        index = np.arange(message.first, message.first + message.count)
        whole = bool(fresh.all())
        self._ring.put(FrameBatch(scan.uid, index if whole else index[fresh], frames if whole else frames[fresh]))
        progress.active_at = time.monotonic()  # waiting for room in the ring is not the sender's silence
        if progress.complete:
            self._close(scan, _reason(progress))

    def _on_frames_of_closed(self, message: FramesMessage) -> None:
        """Frames of a scan that is not open: duplicates when it is complete, refused otherwise."""
        scan = self._closed.get(message.uid)
        if scan is None:
            raise WireError(f"frames of the unknown scan {message.uid}", "unknown_scan")
        if not scan.progress.complete:
            raise WireError(f"frames of the closed scan {message.uid}", "closed_scan")
        _check(message, scan.progress)
        scan.progress.duplicates += message.count

    def _on_end(self, message: EndMessage) -> None:
        scan = self._current
        if scan is None or scan.uid != message.uid:
            if message.uid not in self._closed:
                raise WireError(f"end of the unknown scan {message.uid}", "unknown_scan")
            return
        scan.progress.end = message
        scan.progress.heard, scan.progress.active_at = True, time.monotonic()
        if scan.progress.complete:
            self._close(scan, _reason(scan.progress))

    def _on_ping(self, message: PingMessage) -> None:
        scan = self._current
        if scan is not None and scan.uid == message.uid:
            scan.progress.heard = True
            if scan.progress.end is None:
                scan.progress.active_at = time.monotonic()
        elif message.arm is not None:
            self._on_arm(message.arm, message.problems, by_ping=True)

    def _on_arm(self, arm: Arm, problems: tuple[WireError, ...], *, by_ping: bool) -> None:
        """Open, resume or recognise a scan. A ping may do so only while no other sender is heard."""
        current = self._current
        if current is not None and current.uid == arm.uid:
            current.progress.heard, current.progress.active_at = True, time.monotonic()
            return
        if by_ping and self.hears_a_sender:
            return
        known = self._known(arm.uid)
        if known is not None and (known.progress.complete or self._recordings.is_converting(arm.uid)):
            self._shown = known if current is None else self._shown
            return
        if current is not None:
            self._close(current, _reason(current.progress))
        for problem in problems:
            self.reject(problem)
        if known is not None and known.target is not None:
            self._resume(known.progress.arm, known.target.with_suffix(SUFFIX))
        else:
            self._open(arm)

    def _known(self, uid: str) -> ScanRecord | None:
        """A closed scan of this run or an earlier one."""
        if uid not in self._closed and (stored := self._recordings.find(uid)) is not None:
            self._remember(stored)
        return self._closed.get(uid)

    def _open(self, arm: Arm) -> None:
        scan = ScanRecord.new(arm)
        self._recordings.begin(scan)
        self._announce(scan)

    def _resume(self, arm: Arm, journal: Path, keep_bytes: int | None = None) -> None:
        """Open a scan that was interrupted: what is stored of it goes into the ring first."""
        if keep_bytes is None:
            leftover = self._recordings.leftover(journal) if journal.exists() else None
            keep_bytes = 0 if leftover is None else leftover.keep_bytes
        scan = ScanRecord.new(arm, resumed=True)
        self._recordings.go_on(scan, journal, keep_bytes=keep_bytes)
        self._announce(scan)
        received = np.zeros(arm.frames, dtype=bool)
        for batch in stored_batches(arm, journal):
            received[batch.index] = True
            self._ring.put(batch)
        scan.progress.restore(received)
        self._recordings.note_stored(scan, received)
        scan.progress.active_at = time.monotonic()
        if scan.progress.complete:
            self._close(scan, "complete")

    def _announce(self, scan: ScanRecord) -> None:
        """Show a scan to the readers of the ring and to the listener."""
        self._closed.pop(scan.uid, None)
        self._current = self._shown = scan
        event = ArmEvent(scan.progress.arm, scan.progress.resumed)
        self._announcer.emit(event)
        self._ring.put(event)

    def _close(self, scan: ScanRecord, reason: EndReason) -> None:
        """End a scan: no more batches; its recording is made."""
        self._recordings.finish(scan, reason)
        scan.reason = reason
        self._remember(scan)
        self._current = None
        event = EndEvent(scan.uid, reason, scan.progress.summary())
        self._ring.put(event)
        self._announcer.emit(event)

    def _remember(self, scan: ScanRecord) -> None:
        self._closed[scan.uid] = scan
        while len(self._closed) > _REMEMBERED_SCANS:
            self._closed.popitem(last=False)


def _check(message: FramesMessage, progress: ScanProgress) -> None:
    """Refuse frames beyond the scan's last one, and parts of the wrong size. Raises WireError."""
    last = message.first + message.count
    if last > progress.arm.frames:
        raise WireError(f"frames {message.first} to {last - 1} of a scan of {progress.arm.frames}", "beyond_scan")
    check_size(message, progress.layout)


def _reason(progress: ScanProgress) -> EndReason:
    """How a scan that closes by itself has ended: as its sender said, else by whether everything came."""
    if progress.end is not None:
        return progress.end.reason
    return "complete" if progress.complete else "aborted"
