"""From messages to scans: place, record and hand on frames. Uses no sockets; one thread calls :meth:`handle`.

Rules (docs/protocol.md): frames are placed by uid and number, whatever other senders do meanwhile; a uid that is used
again for another scan gets a new name; a scan closes at its last frame, or when its sender falls silent. Frames go to
the journal first and to the ring afterwards, so that whatever the live engine shows can be recovered.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptylive.schema import FrameBatch, ScanHeader, WireError
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.events import Announcer, ArmEvent, EndEvent, EndReason, StreamStatus
from ptylive.streamer.marks import marks_of_frames
from ptylive.streamer.patience import Patience
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.recording.journal_file import SUFFIX
from ptylive.streamer.recording.recordings import Recordings
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.ring import Ring
from ptylive.streamer.tracking.known_scans import KnownScans
from ptylive.streamer.tracking.repeats import Arrival, OtherDataError
from ptylive.streamer.tracking.stream_status import status_of
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, PingMessage

MOST_OPEN = 4
"""Number of scans received at the same time; one more closes the scan whose sender was heard longest ago."""
_MOST_WAITING = 16


class Acquisition:
    """The scans being received, the scans before them, and their way into journal and ring.

    ``one_sender``: an arm message can only come from the sender of the frames, so the new scan replaces the previous
    one at once; ``exact``: frames arrive as they were sent, not computed from what was sent.
    """

    def __init__(
        self,
        ring: Ring,
        folder: Path | None,
        patience: Patience,
        announcer: Announcer,
        *,
        one_sender: bool = False,
        exact: bool = True,
    ) -> None:
        self._ring = ring
        self._patience = patience
        self._announcer = announcer
        self._one_sender, self._exact = one_sender, exact
        self._recordings = Recordings(folder, announcer, ring.frames_are_read)
        self._open: OrderedDict[str, ScanRecord] = OrderedDict()
        self._current: ScanRecord | None = None
        self._shown: ScanRecord | None = None
        self._waiting: OrderedDict[str, tuple[ScanHeader, str]] = OrderedDict()
        self._only_pinged: set[str] = set()
        """Waiting scans that no arm message announced; they begin only when a frame arrives."""
        self._known = KnownScans(self._recordings, announcer, (self._open, self._waiting), exact=exact)
        self.senders, self.undecided = self._known.senders, self._known.undecided
        self._rejected: Counter[str] = Counter()

    def record(self, wanted: bool) -> None:
        """Set whether scans that begin from now on are recorded, if there is a folder; callable from any thread."""
        self._recordings.wanted = wanted

    def status(self) -> StreamStatus:
        """Return the state of the stream; callable from any thread."""
        return status_of(self._shown, dict(self._rejected), self._ring)

    def end_scan(self, uid: str) -> bool:
        """End an open scan with what has arrived, soon; return whether it is open. Callable from any thread."""
        if (scan := self._open.get(uid)) is not None:
            scan.progress.end_requested = True
        return scan is not None

    def safe_ranges(self, uid: str) -> list[tuple[int, int]]:
        """Return the half-open ranges of frames of a scan that would survive a crash; callable from any thread."""
        return self._known.safe_ranges(uid, list(self._open.values()))

    def header_of(self, header: ScanHeader) -> ScanHeader | None:
        """Return the known scan that an arm message means, with its stored basis and masks; None for a new scan."""
        found = self._known.meant_by(header, self._open.values(), raw=True)
        return None if found is None else replace(found.progress.header, uid=header.uid)

    def open_header(self) -> ScanHeader | None:
        """Return the open scan as it is stored, under its sender's uid."""
        return None if (scan := self._current) is None else replace(scan.progress.header, uid=scan.progress.sent_as)

    @property
    def hears_a_sender(self) -> bool:
        """Whether the open scan has a sender, so that a ping of another sender must not replace it."""
        current = self._current
        return current is not None and (current.progress.heard or not current.progress.resumed)

    def handle(self, message: Message, source: int | None = None) -> None:
        """Process one message; ``source``: its connection. Raises WireError when it does not fit the scan it names."""
        if self._known.hold_behind(message, source):
            return
        if isinstance(message, ArmMessage):
            self._on_arm(message.header, message.problems, source, by_ping=False)
        elif isinstance(message, PingMessage):
            self._on_ping(message, source)
        elif isinstance(message, EndMessage):
            self._on_end(replace(message, uid=self._known.meant(message.uid, source)))
        else:
            self._on_frames_of(message if source is None else replace(message, source=source), message.uid)

    def _on_frames_of(self, message: FramesMessage, uid: str) -> None:
        """Process frames under their sender's ``uid``, or under the name their scan had when they arrived."""
        name = self._known.meant(uid, message.source)
        if name != message.uid:
            message = replace(message, uid=name)
        if (header := self._known.shown_by(message, uid, self._open.values())) is not None:
            if header.uid not in self._open and self._known.find(header.uid) is None:
                self._start(header, uid)
            message = replace(message, uid=header.uid)
        self._on_frames(message)

    @property
    def open_scan(self) -> ScanProgress | None:
        """The scan from which most frames are expected."""
        return None if self._current is None else self._current.progress

    def take_block(self, block: FrameBlock) -> None:
        """Take in patterns received by the compiled loop: they are new, checked, marked and belong to an open scan."""
        scan = self._open.get(block.uid)
        if scan is None:
            raise WireError(f"frames of the closed scan {block.uid}", "closed_scan")
        progress = scan.progress
        progress.heard, progress.active_at = True, time.monotonic()
        for start, stop in block.runs():
            self._watch(scan, int(block.index[start]), stop - start)
        block = self._recordings.write_block(scan, block)
        progress.place_block(block.index, now=progress.active_at, marks=block.marks)
        self._handed_on(scan, block.batch)

    def reject(self, error: WireError, *, of_open_scan: bool = False, always: bool = False) -> None:
        """Count a refused message or pattern; log the first of its kind, the tenth, … or every one (``always``)."""
        if of_open_scan and self._current is not None:
            self._current.progress.refused += 1
        self._rejected[error.reason] += 1
        count = self._rejected[error.reason]
        if always or count == 10 ** (len(str(count)) - 1):
            self._announcer.log("warning", f"{error} (rejected as {error.reason}, {count} so far)")

    def tick(self) -> None:
        """Close scans whose senders have fallen silent, except those without a frame; take in held messages."""
        for scan in list(self._open.values()):
            self._recordings.look(scan)
            progress = scan.progress
            if progress.is_over(self._patience):
                if warning := progress.closing_warning(self._patience):
                    self._announcer.log("warning", warning)
                self._close(scan, progress.outcome)
        self._recordings.note_late()
        self._known.take_in(self._recordings.late_leftovers(), self._open, self._waiting)
        for uid in self._known.released():
            self._take_held(uid)
        armed = [uid for uid in self._waiting if uid not in self._only_pinged]
        if self._current is None and armed:
            self._start(*self._waiting[armed[-1]])

    def recover(self) -> None:
        """Take up what an earlier run left in the recording folder: resume the last cut-off scan, convert the rest."""
        found = self._recordings.leftovers()
        cut_off = [leftover for leftover in found if leftover.end is None and leftover.received.any()]
        last = cut_off[-1] if cut_off else None
        self._known.expect(found)
        self._known.take_in([earlier for earlier in found if earlier is not last], self._open, self._waiting)
        header = None if last is None else self._known.name_of(last, self._open, self._waiting)
        if last is not None and header is not None:
            safe = f"{np.count_nonzero(last.received)} of {header.frames} frames are safe"
            self._announcer.log("info", f"resuming the scan of {last.path.name}: {safe}")
            sent_as = self._known.names.learn(last.header.uid)
            self._resume(ScanRecord.new(header, resumed=True, sent_as=sent_as), last.path, last.keep_bytes)

    def stop(self, timeout_s: float) -> None:
        """Close the open scans and finish their recordings; any that take longer than ``timeout_s`` stay journals."""
        self._waiting.clear()
        for uid in self._known.released(at_end=True):
            self._take_held(uid)
        for scan in list(self._open.values()):
            self._close(scan, "aborted")
        self._recordings.stop(timeout_s)

    def _on_frames(self, message: FramesMessage) -> None:
        scan = self._open.get(message.uid) or self._opened_for(message)
        if scan is None:
            return
        try:
            self._place(scan, Arrival(message, scan, exact=self._exact))
        except OtherDataError as error:
            if not (self._one_sender or scan.begins_anew(message.first)):
                self._known.refused(scan)
            if not (scan.armed_again or self.senders.share(message.source, scan.progress.sent_as)):
                raise
            self._place_anew(scan, message, error)

    def _place(self, scan: ScanRecord, arrival: Arrival) -> None:
        """Place new frames. Raises WireError; raises OtherDataError before any of the frames is placed."""
        progress, message = scan.progress, arrival.message
        arrival.check()
        fresh = progress.fresh(message.first, message.count)
        repeated = arrival.repeated(~fresh)
        progress.heard, progress.active_at = True, time.monotonic()
        self._watch(scan, message.first, message.count)
        progress.duplicates += int(np.count_nonzero(repeated))
        if warning := progress.note_unchecked(arrival.unchecked):
            self._announcer.log("warning", warning)
        if fresh.any():
            fresh &= arrival.good
        for problem in arrival.problems:
            progress.refused += 1
            self.reject(problem)
        if scan.closed or not fresh.any():
            return
        self._recordings.write(scan, message, fresh)
        progress.marks[message.first : message.first + message.count][fresh] = arrival.marks[fresh]
        progress.place(message.first, fresh, now=progress.active_at)
        self._handed_on(scan, arrival.batch(fresh))

    def _watch(self, scan: ScanRecord, first: int, count: int) -> None:
        """Warn when the frame numbers of an open scan suggest that another receiver takes some of its messages."""
        if not scan.closed and (warning := scan.progress.shared_stream.observe(first, count)):
            self._announcer.log("warning", warning)

    def _handed_on(self, scan: ScanRecord, batch: FrameBatch) -> None:
        self._ring.put(batch)
        self._shown = scan if self._shown is None or self._shown.closed else self._shown
        scan.progress.waited(time.monotonic())
        if scan.progress.complete:
            self._close(scan, scan.progress.outcome)

    def _place_anew(self, scan: ScanRecord, message: FramesMessage, error: OtherDataError) -> None:
        """Start a new scan with frames of another scan sent under a uid whose frames are already there."""
        uid = scan.progress.sent_as
        if not (scan.closed or self.senders.share(message.source, uid)):
            self._close(scan, scan.progress.outcome)
        header = self._known.renamed(scan.progress.header, uid, str(error), message.source)
        self._start(header, uid)
        self._on_frames(replace(message, uid=header.uid))

    def _opened_for(self, message: FramesMessage) -> ScanRecord | None:
        """Return the scan of frames that arrive while it is not open; None when they are held. WireError: unknown."""
        if message.uid in self._waiting:
            return self._start(*self._waiting.pop(message.uid))
        scan = self._known.find(message.uid)
        if scan is not None and self._known.hold(scan, message):
            return None
        if message.uid in self._known.held.uids:
            self._take_held(message.uid, message)
            return None
        if scan is None:
            raise WireError(f"frames of the unknown scan {message.uid}", "unknown_scan")
        if scan.progress.complete:
            return scan  # duplicates, or another scan under the same uid
        self._announcer.log("info", f"frames of the closed scan {scan.uid} arrived: it is reopened")
        return self._start(scan.progress.header, scan.progress.sent_as, by_frames=True)

    def _on_end(self, message: EndMessage) -> None:
        scan = self._open.get(message.uid)
        if scan is None:
            if message.uid not in self._known.closed and message.uid not in self._waiting:
                raise WireError(f"end of the unknown scan {message.uid}", "unknown_scan")
            return
        scan.progress.end, scan.progress.heard, scan.progress.active_at = message, True, time.monotonic()
        if scan.progress.complete:
            self._close(scan, scan.progress.outcome)

    def _on_ping(self, message: PingMessage, source: int | None) -> None:
        if message.header is not None:
            self._on_arm(message.header, message.problems, source, by_ping=True)
        elif (scan := self._open.get(self._known.meant(message.uid, source))) is not None:
            self._note_heard(scan, by_ping=True)

    def _note_heard(self, scan: ScanRecord, *, by_ping: bool) -> None:
        scan.progress.heard = True
        if scan.progress.end is None or not by_ping:
            scan.progress.active_at = time.monotonic()

    def _on_arm(self, header: ScanHeader, problems: Iterable[WireError], source: int | None, *, by_ping: bool) -> None:
        """Open, resume or recognise a scan. While another scan is being sent, it begins with its first frame."""
        sent_as = header.uid
        header = self._known.identified(header, self._open.values(), self._waiting, source)
        if (scan := self._open.get(header.uid)) is not None:
            self._known.armed_again(scan, by_ping=by_ping)
            self._known.count_senders(scan)
            self._note_heard(scan, by_ping=by_ping)
            return
        current, known = self._current, self._known.find(header.uid)
        if known is not None and (known.progress.final(by_ping=by_ping) or self._recordings.is_converting(header.uid)):
            self._known.armed_again(known, by_ping=by_ping)
            self._shown = known if current is None else self._shown
            return
        for problem in problems:
            self.reject(problem, always=True)
        if self.hears_a_sender if by_ping else (not self._one_sender and current is not None and current.busy):
            self._wait(header, sent_as, by_ping=by_ping)
        else:
            self._start(header, sent_as)

    def _wait(self, header: ScanHeader, sent_as: str, *, by_ping: bool) -> None:
        """Queue a scan announced while another one is being sent: an arm message alone ends nothing."""
        if not by_ping and header.uid not in self._waiting and self._current is not None:
            text = f"scan {header.series} was armed while {self._current.progress.header.series} is being received"
            self._announcer.log("info", f"{text}: it starts with its first frame")
        if by_ping and header.uid not in self._waiting:
            self._only_pinged.add(header.uid)
        elif not by_ping:
            self._only_pinged.discard(header.uid)
        self._waiting[header.uid] = (header, sent_as)
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popitem(last=False)
        self._only_pinged &= self._waiting.keys()

    def _start(self, header: ScanHeader, sent_as: str, *, by_frames: bool = False) -> ScanRecord:
        """Open or reopen a scan, next to those being sent; a scan without frames gives way to it."""
        self._waiting.pop(header.uid, None)
        current = self._current
        idle = current is not None and not current.progress.placed and current.progress.is_silent(self._patience)
        if by_frames and current is not None and idle:
            self._waiting[current.uid] = (current.progress.header, current.progress.sent_as)
            by_frames = False
        for opened in [] if by_frames else list(self._open.values()):
            if self._one_sender or opened.progress.placed == 0:
                self._close(opened, "aborted")
        while len(self._open) >= MOST_OPEN:
            self._close(min(self._open.values(), key=lambda candidate: candidate.progress.active_at), "aborted")
        known = self._known.find(header.uid)
        stored = known is not None and known.target is not None
        scan = ScanRecord.new(known.progress.header if known and stored else header, resumed=stored, sent_as=sent_as)
        scan.progress.senders = 1 if known is None else known.progress.senders
        beside = by_frames and self._current is not None
        if known is not None and known.target is not None:
            self._resume(scan, known.target.with_suffix(SUFFIX), beside=beside)
        else:
            self._recordings.begin(scan)
            self._announce(scan, beside=beside)
        return scan

    def _resume(self, scan: ScanRecord, journal: Path, keep_bytes: int | None = None, *, beside: bool = False) -> None:
        """Open a scan that was interrupted: its stored frames go into the ring first."""
        progress, header = scan.progress, scan.progress.header
        self._recordings.take_up(scan, journal, keep_bytes)
        self._announce(scan, beside=beside)
        received = np.zeros(header.frames, dtype=bool)
        for batch in self._recordings.stored(header, journal):
            received[batch.index] = True
            progress.marks[batch.index] = marks_of_frames(batch.frames, progress.layout, exact=self._exact)
            self._ring.put(batch)
        progress.restore(received)
        self._recordings.note_stored(scan, received)
        progress.waited(time.monotonic())
        if progress.complete:
            self._close(scan, "complete")

    def _announce(self, scan: ScanRecord, *, beside: bool) -> None:
        """Announce a scan to the readers of the ring and to the listener."""
        self._known.closed.pop(scan.uid, None)
        self._open[scan.uid] = scan
        self._known.count_senders(scan)  # it may have been announced by several senders before it began
        if not beside:
            self._current = self._shown = scan
        event = ArmEvent(scan.progress.header, scan.progress.resumed, beside)
        self._announcer.emit(event)
        self._ring.put(event)

    def _close(self, scan: ScanRecord, reason: EndReason) -> None:
        """End a scan: no batches follow, and its recording is made."""
        self._recordings.finish(scan, reason)
        scan.reason = reason
        self._known.remember(scan)
        self._open.pop(scan.uid, None)
        event = EndEvent(scan.uid, reason, scan.progress.summary())
        self._ring.put(event)
        self._announcer.emit(event)
        self._current = next(reversed(self._open.values()), None) if self._current is scan else self._current
        # not one that broke off before, or was taken up from the disk: its sender may be gone
        beside = [other for other in self._open.values() if other.progress.is_beside(scan.progress, self._patience)]
        self._shown = (beside or [scan])[-1] if self._shown is scan else self._shown

    def _take_held(self, name: str, *behind: FramesMessage) -> None:
        """Process held messages, then the frames ``behind`` them: of their scan, or of what its uid now means."""
        for message, source in (*self._known.held.take(name), *((frames, frames.source) for frames in behind)):
            try:
                if not isinstance(message, FramesMessage):
                    self.handle(message, source)
                    continue
                scan = self._known.closed.get(message.uid)
                self._on_frames_of(message, message.uid if scan is None else scan.progress.sent_as)
            except WireError as error:
                self.reject(error)
