"""The recording of every scan: a journal while it arrives, HDF5 when it has ended; nothing here can stop the stream.

A disk that fails costs the recording, not the scan: the scan is marked, its journal is kept, and frames go on to the
live engine. This holds for any problem with the folder, from its first file on: no method called for a scan that
arrives raises OSError.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

import numpy as np

from ptylive.schema import FrameBatch, ScanHeader
from ptylive.schema.model import BoolArray
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.events import Announcer, EndReason, RecordingEvent
from ptylive.streamer.recording.backlog import STALLED_S, Backlog
from ptylive.streamer.recording.catalogue import Catalogue
from ptylive.streamer.recording.converter import NOTHING_WRITTEN, PARTLY_WRITTEN, Closing, Converter, Job, always
from ptylive.streamer.recording.earlier_runs import FAULTS, EarlierRuns, line_of
from ptylive.streamer.recording.in_time import in_time, items_in_time
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.journal_file import SUFFIX, new_journal
from ptylive.streamer.recording.recovery import Leftover, stored_batches
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.vetting.known_files import note_written
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage, runs_of

READ_PATIENCE_S = 15.0
"""For a scan that is taken up again: its file may be silent for this long."""
OPEN_PATIENCE_S = STALLED_S
"""How long the beginning of a scan waits for its journal; not at all while a folder is known to hang."""
MOST_JOURNALS = 16
"""Journals that are open at the same time, most of them of closed scans that wait for the disk."""
_POLL_S = 0.01


class Recordings:
    """Journals and recordings in one folder; with ``folder=None`` every method does nothing.

    ``frames_are_read``: whether all received frames have been read; called with a time-out in s before each recording.
    """

    def __init__(
        self, folder: Path | None, announcer: Announcer, frames_are_read: Callable[[float], bool] = always
    ) -> None:
        self.folder = folder
        self.wanted = True
        """Whether scans that begin from now on are recorded."""
        self._announcer = announcer
        self._catalogue = None if folder is None else Catalogue(folder, partial(announcer.log, "warning"))
        self._converter = Converter(self._converted, frames_are_read)
        self._converting: set[str] = set()
        self._scans: WeakValueDictionary[str, ScanRecord] = WeakValueDictionary()
        self._cut_short: WeakValueDictionary[str, ScanRecord] = WeakValueDictionary()
        """Ended scans whose journals could not be written to their ends."""
        self._backlog = Backlog()
        self._journals: list[Journal] = []
        """Journals that are not closed yet."""
        self._earlier = EarlierRuns(folder, announcer, self._catalogue, self._is_open)
        self._unannounced: dict[str, ScanRecord] = {}
        """Closed scans whose recordings do not yet contain their number of senders."""

    def begin(self, scan: ScanRecord) -> None:
        """Start the journal of a new scan."""
        if self.folder is None:
            return
        if not self.wanted:
            self._announcer.emit(RecordingEvent(scan.uid, "off", "", "recording is switched off"))
            return
        folder, header = self.folder, scan.progress.header
        self._write_journal(scan, partial(self._new_journal, folder, header), keep_bytes=0)

    def take_up(self, scan: ScanRecord, path: Path, keep_bytes: int | None = None) -> None:
        """Continue the journal of a scan that is opened again, or start a new one next to its recording.

        ``keep_bytes``: length of the intact part of the journal, where known.
        """
        if not self._is_closed(path):
            self._fail(scan, f"{path}: the earlier file is still being closed; the journal is kept")
            return
        self._converter.forget(path)
        if (closed := self._unannounced.pop(scan.uid, None)) is not None:
            scan.progress.senders = max(scan.progress.senders, closed.progress.senders)
        scan.target = path.with_suffix(".h5")
        if keep_bytes is None:
            try:
                keep_bytes = in_time(partial(self._keep_bytes, path), READ_PATIENCE_S)
            except FAULTS as error:
                self._fail(scan, f"{path}: {line_of(error)}; the journal is kept")
                return
        self._write_journal(scan, lambda: path, keep_bytes=keep_bytes)
        if scan.progress.senders > 1:  # what was written of it may be lost with what a full disk did not take
            self.note_senders(scan)

    def _is_closed(self, path: Path) -> bool:
        """Whether this process no longer writes a journal: one that failed is closed a little later, by the thread that
        does so, and its file is claimed until then. Waits for this unless the disk does not answer.
        """
        give_up = time.monotonic() + READ_PATIENCE_S
        while writing := [journal for journal in self._journals if journal.path == path and not journal.closed]:
            if time.monotonic() > give_up or any(journal.stalled for journal in writing):
                return False
            time.sleep(_POLL_S)
        return True

    def _keep_bytes(self, path: Path) -> int:
        """Length of the intact part of a journal; 0 where there is none. Raises PtyliveError, OSError."""
        if not path.exists():
            return 0
        return self._earlier.read(path).keep_bytes

    def stored(self, header: ScanHeader, journal: Path) -> Iterator[FrameBatch]:
        """Yield the stored frames of a scan, as far as they can be read without long pauses."""

        def read() -> Iterator[FrameBatch]:
            with self._earlier.reader as worker:
                yield from stored_batches(worker, header, journal, partial(self._announcer.log, "warning"))

        try:
            yield from items_in_time(read, READ_PATIENCE_S)
        except FAULTS as error:
            text = f"the recorded part of scan {header.series} cannot be read: {line_of(error)}"
            self._announcer.log("warning", text)

    def _write_journal(self, scan: ScanRecord, place: Callable[[], Path], *, keep_bytes: int) -> None:
        """Write the scan to a journal, opened in a separate thread; frames wait for a folder that is slow."""
        hangs = any(journal.stalled for journal in self._journals)
        if not self._may_open_journal(0 if hangs else OPEN_PATIENCE_S):
            self._fail(
                scan, f"{self.folder}: it does not respond, and {len(self._journals)} journals are waiting for it"
            )
            return
        try:
            journal = Journal(place, scan.progress.header, keep_bytes=keep_bytes, backlog=self._backlog)
        except (OSError, RuntimeError) as error:
            self._fail(scan, f"{self.folder}: {line_of(error)}; {NOTHING_WRITTEN}")
            return
        self._journals.append(journal)
        scan.journal, scan.safe, scan.recording_state = journal, journal.safe, "waiting"
        journal.opened.wait(0 if hangs else OPEN_PATIENCE_S)
        self.look(scan)

    def _may_open_journal(self, patience_s: float) -> bool:
        """Whether one more journal may be opened: at once, or once a slow disk has let another one be closed."""
        give_up = time.monotonic() + patience_s
        while True:
            self._journals = [journal for journal in self._journals if not journal.closed]
            if len(self._journals) < MOST_JOURNALS:
                return True
            if time.monotonic() > give_up:
                return False
            time.sleep(_POLL_S)

    def look(self, scan: ScanRecord) -> None:
        """Report when the folder has begun, ceased or refused to answer."""
        journal = scan.journal
        if journal is None or scan.recording_state not in ("waiting", "writing"):
            return
        if journal.error is not None:
            self._fail_to_write(scan, journal.error)
        elif journal.stalled or not journal.opened.is_set():
            if not scan.recording_error:
                scan.recording_state, scan.recording_error = "waiting", f"{self.folder} does not respond"
                self._announcer.emit(RecordingEvent(scan.uid, "waiting", "", scan.recording_error))
        elif scan.recording_state == "waiting" and journal.path is not None:
            scan.target = journal.path.with_suffix(".h5")
            scan.recording_state, scan.recording_error = "writing", ""
            self._announcer.emit(RecordingEvent(scan.uid, "writing", str(scan.target)))

    def note_stored(self, scan: ScanRecord, received: BoolArray) -> None:
        """Count frames that earlier runs have put on the disk as safe, whether or not the recording can go on."""
        if scan.journal is None or scan.recording_state == "failed":
            scan.safe = received.copy()
        else:
            scan.journal.mark_safe(received)

    def write(self, scan: ScanRecord, message: FramesMessage, fresh: BoolArray) -> None:
        """Append the new patterns of a message, as received."""
        if scan.journal is None or scan.recording_state == "failed":
            return
        try:
            if fresh.all():
                scan.journal.append(message)
            else:
                for start, stop in runs_of(fresh):
                    scan.journal.append(message.run(start, stop))
        except OSError as error:
            self._fail_to_write(scan, error)

    def write_block(self, scan: ScanRecord, block: FrameBlock) -> FrameBlock:
        """Append the patterns of a block, as received, one record per run of numbers; return the block to hand on.

        No file holds a detector's own coding: such patterns are decoded, and handed on decoded.
        """
        if scan.journal is None or scan.recording_state == "failed":
            return block
        block = block.in_bytes(scan.progress.layout)
        try:
            for start, stop in block.runs():
                scan.journal.append_packed(*block.message(start, stop))
        except OSError as error:
            self._fail_to_write(scan, error)
        return block

    def note_senders(self, scan: ScanRecord) -> None:
        """Write into the journal how many senders have announced the scan at the same time; frames may follow.

        For a closed scan it is written into its recording, once that is made.
        """
        if scan.journal is None and scan.target is not None:
            self._unannounced[scan.uid] = scan
        elif scan.journal is not None and scan.recording_state != "failed":
            reached, senders = scan.progress.highest + 1, scan.progress.senders
            with contextlib.suppress(OSError):  # raised again for the next frames
                scan.journal.append(EndMessage(scan.uid, reached, "aborted", senders))

    def note_late(self) -> None:
        """Remake recordings of closed scans that do not yet contain their number of senders."""
        for scan in [scan for uid, scan in self._unannounced.items() if not self.is_converting(uid)]:
            safe, target = scan.safe.copy(), scan.target
            del self._unannounced[scan.uid]
            if target is not None:
                self.take_up(scan, target.with_suffix(SUFFIX))
                self.note_stored(scan, safe)
                self.finish(scan, scan.reason or "aborted")

    def finish(self, scan: ScanRecord, reason: EndReason) -> None:
        """End the journal of a scan and have it converted; one without frames is removed, a failed one is kept.

        The last event of a recording is always ``complete``, ``failed``, or ``off`` when no frame arrived.
        """
        journal = scan.journal
        if journal is None:
            return
        scan.journal = None
        if scan.recording_state != "failed" and scan.progress.placed:
            status: Literal["complete", "aborted"] = "complete" if reason == "complete" else "aborted"
            with contextlib.suppress(OSError):  # the converter meets the same error and reports it
                journal.append(EndMessage(scan.uid, scan.progress.highest + 1, status, scan.progress.senders))
            self._convert(scan, Closing(scan.uid, journal, "convert"))
            return
        self._cut_short[scan.uid] = scan
        with contextlib.suppress(RuntimeError):  # no thread to close it in: it closes when this process ends
            self._converter.add(Closing(scan.uid, journal, "keep" if scan.progress.placed else "remove"))
        if not scan.progress.placed:
            scan.target, scan.recording_state, scan.recording_error = None, "off", ""
            self._announcer.emit(RecordingEvent(scan.uid, "off", "", "no frame arrived"))

    def convert(self, leftover: Leftover, header: ScanHeader, known: ScanRecord | None = None) -> ScanRecord:
        """Convert a journal of an earlier run, as the scan ``header``, maybe under another name; the scan is closed.

        ``known``: the same scan, if it is known already; it is returned, with all frames of the journal.
        """
        self._earlier.held.settle(leftover.path)
        scan = ScanRecord.stored(header, leftover.received, leftover.target)
        if known is not None and known.progress.header.frames == header.frames:
            known.restore(leftover.received)
            scan = known
        self._convert(scan, Job(scan.uid, leftover.path, leftover.target))
        return scan

    def leftovers(self) -> list[Leftover]:
        """Return the journals of earlier runs that can be read soon, oldest first; the others come later."""
        return self._earlier.leftovers()

    def late_leftovers(self) -> list[Leftover]:
        """Return the journals that have been read since, oldest first."""
        return self._earlier.late()

    def _is_open(self, path: Path) -> bool:
        """Whether this process writes or converts a journal."""
        converted = [scan.target for uid in list(self._converting) if (scan := self._scans.get(uid)) is not None]
        return any(journal.path == path for journal in self._journals) or path.with_suffix(".h5") in converted

    def find(self, uid: str) -> ScanRecord | None:
        """Return a scan that an earlier run recorded, or is still recording, as closed; None when there is none."""
        held = self._earlier.held.find(uid)
        try:
            stored = None if self._catalogue is None else self._catalogue.find(uid)
        except FAULTS as error:
            self._announcer.log("warning", f"cannot check whether scan {uid} was recorded before: {line_of(error)}")
            return None
        if held is not None and (stored is None or self._earlier.held.is_held(uid)):
            return ScanRecord.stored(held.header, held.received, held.target)
        return None if stored is None else ScanRecord.stored(stored.header, stored.received, stored.path)

    def is_undecided(self, series: str) -> bool:
        """Whether an earlier run may have recorded a scan of this series in a file that has not been read yet."""
        return self._catalogue is not None and self._catalogue.is_undecided(series)

    def is_converting(self, uid: str) -> bool:
        """Whether the recording of a scan is being made."""
        return uid in self._converting or self._earlier.held.is_held(uid)

    def is_due(self, uid: str) -> bool:
        """Whether the recording of a scan is still to be made from what another process has left."""
        return self._earlier.held.is_due(uid)

    def stop(self, timeout_s: float) -> None:
        """Finish the conversions under way; journals of those that take longer stay for the next start."""
        give_up = time.monotonic() + timeout_s / 2
        while self._unannounced and time.monotonic() < give_up:
            self.note_late()
            time.sleep(_POLL_S)
        self._earlier.stop()
        if self._catalogue is not None:
            self._catalogue.close()
        if not self._converter.stop(timeout_s):
            self._announcer.log("warning", "a recording was not finished in time; the next start finishes it")

    def _convert(self, scan: ScanRecord, item: Job | Closing) -> None:
        scan.recording_state, scan.recording_error = "converting", ""
        self._converting.add(scan.uid)
        self._scans[scan.uid] = scan
        target = str(scan.target or "")
        self._announcer.emit(RecordingEvent(scan.uid, "converting", target))
        try:
            self._converter.add(item)
        except RuntimeError as error:  # no thread can be started
            self._converted(RecordingEvent(scan.uid, "failed", target, f"{error}; the journal is kept"))

    def _converted(self, event: RecordingEvent) -> None:
        """Process the result of a conversion (called in the converter's thread)."""
        if event.state == "complete":
            note_written(Path(event.path))
        scan, partly = self._scans.get(event.uid), self._cut_short.get(event.uid)
        if partly is not None and event.state == "complete":
            partly.recording_state, partly.recording_error = event.state, ""
        if scan is not None:
            scan.recording_error = event.message if event.state == "failed" else ""
            scan.recording_state = event.state
            scan.target = Path(event.path) if event.path else scan.target
            if event.state == "complete" and scan.target is not None and self._catalogue is not None:
                self._catalogue.add(scan.target, scan.progress.header, scan.progress.received)
        self._converting.discard(event.uid)
        self._announcer.emit(event)
        if event.warning:
            self._announcer.log("warning", event.warning)

    def _fail_to_write(self, scan: ScanRecord, error: OSError) -> None:
        path = None if scan.journal is None else scan.journal.path
        remedy = NOTHING_WRITTEN if path is None else PARTLY_WRITTEN
        self._fail(scan, f"{path or self.folder}: {error.strerror or error}; {remedy}")

    def _fail(self, scan: ScanRecord, problem: str) -> None:
        if scan.journal is None or scan.journal.path is None:
            scan.safe = np.zeros(scan.progress.header.frames, dtype=bool)
        scan.recording_state, scan.recording_error = "failed", problem
        self._announcer.emit(RecordingEvent(scan.uid, "failed", str(scan.target or ""), problem))

    def _new_journal(self, folder: Path, header: ScanHeader) -> Path:
        """Create a journal in the recording folder, creating the folder if necessary. Raises OSError."""
        path = new_journal(folder, header.series)
        self._warn_of_space(folder, header)
        return path

    def _warn_of_space(self, folder: Path, header: ScanHeader) -> None:
        """Warn in advance when the disk cannot hold the scan, should every frame come uncompressed."""
        needed, free = header.frames * FrameLayout.of(header).nbytes, shutil.disk_usage(folder).free
        if needed > free:
            unit, size = ("MB", 1e6) if needed < 1e9 else ("GB", 1e9)
            text = f"{folder} has {free / size:.1f} {unit} left, this scan may need {needed / size:.1f} {unit}"
            self._announcer.log("warning", text)
