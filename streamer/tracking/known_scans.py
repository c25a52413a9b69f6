"""Scans that are not open: closed by this run, recorded by earlier ones, and what a uid means among them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from ptylive.schema import Arm, WireError
from ptylive.streamer.events import Announcer
from ptylive.streamer.recording.recordings import Recordings
from ptylive.streamer.recording.recovery import Leftover
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.tracking.held import HeldMessages
from ptylive.streamer.tracking.names import ScanNames, compatible_headers, same_header
from ptylive.streamer.tracking.stored_marks import StoredMarks
from ptylive.streamer.wire import FramesMessage

_REMEMBERED_SCANS = 16
Waiting = Mapping[str, tuple[Arm, str]]
"""Scans that were announced and have not begun: name -> (as it is to be stored, the uid its sender says)."""


class KnownScans:
    """The last closed scans; older ones are looked up among the recordings. For one thread, but for :meth:`look_up`."""

    def __init__(self, recordings: Recordings, announcer: Announcer, *, exact: bool = True) -> None:
        self.names = ScanNames()
        self.closed: OrderedDict[str, ScanRecord] = OrderedDict()
        self.held = HeldMessages()
        self._marks = StoredMarks(exact=exact)
        self._recordings, self._announcer = recordings, announcer

    def remember(self, scan: ScanRecord) -> None:
        """A scan was closed."""
        self.closed[scan.uid] = scan
        self.closed.move_to_end(scan.uid)
        while len(self.closed) > _REMEMBERED_SCANS:
            self.closed.popitem(last=False)

    def take_in(self, leftover: Leftover, taken: Collection[str]) -> None:
        """Have a journal of an earlier run converted; not while its scan, one of ``taken``, is being sent again."""
        uid = leftover.arm.uid
        if uid in taken or self._recordings.is_converting(uid):
            text = f"{leftover.path.name} is of a scan that came again: the next start converts it"
            self._announcer.log("warning", text)
            return
        self.names.learn(uid)
        self.remember(self._recordings.convert(leftover))

    def look_up(self, name: str) -> ScanRecord | None:
        """A closed scan by its name; callable from any thread."""
        return self.closed.get(name) or self._recordings.find(name)

    def find(self, name: str) -> ScanRecord | None:
        """The same, and remembered."""
        if name not in self.closed and (stored := self._recordings.find(name)) is not None:
            self.remember(stored)
        return self.closed.get(name)

    def meant_by(self, arm: Arm, opened: Iterable[ScanRecord], *, raw: bool = False) -> ScanRecord | None:
        """The scan that an arm message announces again, newest first; ``raw``: whatever basis it is stored in."""
        for scan in self._of_uid(arm.uid, opened):
            if _agrees(scan, arm, raw=raw):
                return scan
        return None

    def identified(self, arm: Arm, opened: Iterable[ScanRecord], waiting: Waiting) -> Arm:
        """An arm message under the name of its scan: a known one with the same header, or a new one."""
        uid = arm.uid
        candidates = self._of_uid(uid, opened)
        names = [(scan.uid, _agrees(scan, arm)) for scan in candidates]
        names += [(name, same_header(there, arm)) for name, (there, sent_as) in waiting.items() if sent_as == uid]
        for name, agrees in names:
            if agrees:
                if name != self.names.of(uid):
                    self.names.note(uid, name)
                return arm.renamed(name, arm.series)
        if not names:
            self.names.note(uid, uid)
            return arm
        return self.renamed(arm, uid, f"uid {uid} was armed with another header")

    def renamed(self, arm: Arm, uid: str, why: str) -> Arm:
        """A scan whose uid is taken, under a new name; that is said."""
        name = self.names.again(uid, lambda name: self.look_up(name) is not None)
        self._announcer.log("warning", f"{why}: it is another scan, kept as {name}; give every scan a uid of its own")
        return arm.renamed(name, arm.series)

    def armed_again(self, scan: ScanRecord, *, by_ping: bool) -> None:
        """A closed scan was announced again: what comes is the same, or another scan under its uid."""
        if by_ping:
            return  # only the sender of the scan itself pings
        scan.armed_again = True
        self._ask_marks(scan)

    def hold(self, scan: ScanRecord, message: FramesMessage) -> bool:
        """Keep frames of a closed scan until they can be taken in; False when they can be now.

        Raises WireError when there is no room for them.
        """
        reason = self._reason_to_wait(scan)
        if not reason:
            return False
        if self.held.add(message):
            return True
        if reason == "converting":
            raise WireError(f"frames of the closed scan {scan.uid}, whose recording is being made", "closed_scan")
        self._marks.take(scan.uid)  # too many frames to wait for the answer: they become a scan of their own
        scan.from_file = False
        return False

    def released(self) -> list[str]:
        """Scans whose held messages can be taken in now."""
        free = []
        for name in self.held.uids:
            scan = self.closed.get(name)
            if scan is None or not self._reason_to_wait(scan):
                free.append(name)
        return free

    def _reason_to_wait(self, scan: ScanRecord) -> str:
        """Why frames of a closed scan cannot be taken in yet; empty when they can."""
        doubtful = scan.from_file and scan.armed_again
        if self._recordings.is_converting(scan.uid) and (doubtful or not scan.progress.complete):
            return "converting"
        if not (doubtful and scan.progress.complete):
            return ""
        self._ask_marks(scan)
        if not self._marks.ready(scan.uid):
            return "marks"
        marks = self._marks.take(scan.uid)
        scan.from_file = False
        if marks is not None:
            scan.progress.marks[...] = marks
        return ""

    def _ask_marks(self, scan: ScanRecord) -> None:
        if scan.from_file and scan.target is not None and not self._recordings.is_converting(scan.uid):
            self._marks.ask(scan.uid, scan.target, scan.progress.arm.frames)

    def _of_uid(self, uid: str, opened: Iterable[ScanRecord]) -> list[ScanRecord]:
        """Every known scan that a sender may mean by a uid, newest first."""
        found = [scan for scan in (*self.closed.values(), *opened) if scan.progress.sent_as == uid]
        if not found:
            found = self._earlier(uid)
        return found[::-1]

    def _earlier(self, uid: str) -> list[ScanRecord]:
        """The scans of a uid that earlier runs recorded, oldest first."""
        found: list[ScanRecord] = []
        name = uid
        while (scan := self.find(name)) is not None and scan not in found:
            scan.progress.sent_as = uid
            found.append(scan)
            self.names.learn(name)
            name = self.names.following(uid)
        return found


def _agrees(scan: ScanRecord, arm: Arm, *, raw: bool = False) -> bool:
    """Whether an arm message may announce a known scan; ``raw``: before it is compressed as the known one was."""
    known = scan.progress.arm
    if raw and not known.basis.is_raw and "masks" in known.arrays:
        arm = replace(arm, basis=known.basis, arrays={**arm.arrays, "masks": known.arrays["masks"]})
    return compatible_headers(known, arm) if scan.from_file else same_header(known, arm)
