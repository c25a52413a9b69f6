"""Scans that are not open: closed by this run or recorded by earlier ones, and which of them a uid means."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from ptylive.schema import ScanHeader, WireError
from ptylive.streamer.events import Announcer
from ptylive.streamer.recording.recordings import Recordings
from ptylive.streamer.recording.recovery import Leftover
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.tracking.held import HeldMessages
from ptylive.streamer.tracking.names import ScanNames, compatible_headers, same_header
from ptylive.streamer.tracking.repeats import Arrival, OtherDataError
from ptylive.streamer.tracking.senders import Senders
from ptylive.streamer.tracking.stored_marks import StoredMarks
from ptylive.streamer.tracking.undecided import Undecided
from ptylive.streamer.wire import ArmMessage, FramesMessage, Message, PingMessage, runs_of

_REMEMBERED_SCANS = 16
_LOOKED_UP = 4096
_SCANS_OF_A_UID = 8
"""Number of newest scans considered: a sender that returns does not mean older ones."""
Waiting = Mapping[str, tuple[ScanHeader, str]]
"""Scans announced but not begun: name -> (header under which it will be stored, uid that its sender uses)."""


class KnownScans:
    """The last closed scans; older ones are looked up among the recordings. For one thread, except :meth:`look_up`.

    ``others``: names of scans that are open, or wait to be.
    """

    def __init__(
        self,
        recordings: Recordings,
        announcer: Announcer,
        name_sets: Iterable[Collection[str]] = (),
        *,
        exact: bool = True,
    ) -> None:
        self._name_sets = tuple(name_sets)
        self.names, self.senders = ScanNames(), Senders()
        self.closed: OrderedDict[str, ScanRecord] = OrderedDict()
        self.held = HeldMessages()
        self._exact = exact
        self._looked_up: OrderedDict[str, None] = OrderedDict()
        self._marks = StoredMarks(exact=exact)
        self._recordings, self._announcer = recordings, announcer
        self.undecided = Undecided(recordings, announcer, self.held)

    def remember(self, scan: ScanRecord) -> None:
        """Remember a scan that was closed."""
        self.closed[scan.uid] = scan
        self.closed.move_to_end(scan.uid)
        while len(self.closed) > _REMEMBERED_SCANS:
            self.closed.popitem(last=False)

    def expect(self, leftovers: Iterable[Leftover]) -> None:
        """Reserve the names of journals of earlier runs that will be taken in, so that free names come after theirs."""
        for leftover in leftovers:
            self.names.learn(leftover.header.uid)

    def take_in(self, leftovers: Iterable[Leftover], opened: Mapping[str, ScanRecord], waiting: Waiting) -> None:
        """Have journals of earlier runs converted, under the names that :meth:`name_of` gives them."""
        leftovers = list(leftovers)
        self.expect(leftovers)
        for leftover in leftovers:
            header = self.name_of(leftover, opened, waiting)
            if header is not None:
                scan = self._recordings.convert(leftover, header, self.closed.get(header.uid))
                scan.progress.sent_as = self.names.learn(leftover.header.uid)
                self.remember(scan)

    def name_of(self, leftover: Leftover, opened: Mapping[str, ScanRecord], waiting: Waiting) -> ScanHeader | None:
        """Return the scan of a journal of an earlier run, with its name from now on; None where it has been taken up
        again meanwhile.

        If a folder is read slowly, or a scan was recorded before the journal was known, another recording may have
        taken its name: the journal's scan then gets a new name, so that neither is mistaken for the other.
        """
        header = leftover.header
        known = opened.get(header.uid) or self.find(header.uid)
        if known is not None and known.target == leftover.target:
            return header if known.closed and known.of_earlier_run else None
        if known is None and header.uid not in waiting:
            return header
        name = self.names.free(self.names.learn(header.uid), self._is_in_use)
        text = f"{leftover.path.name} is not the scan now known as {header.uid}: it is kept as {name}"
        self._announcer.log("warning", text)
        return header.renamed(name, header.series)

    def look_up(self, name: str) -> ScanRecord | None:
        """Return a closed scan by its name; callable from any thread."""
        return self.closed.get(name) or self._recordings.find(name)

    def find(self, name: str) -> ScanRecord | None:
        """Like :meth:`look_up`, and remember the scan."""
        if name not in self.closed and (stored := self._recordings.find(name)) is not None:
            self.remember(stored)
        return self.closed.get(name)

    def safe_ranges(self, uid: str, opened: list[ScanRecord]) -> list[tuple[int, int]]:
        """Half-open ranges of the frames of a scan that would survive a crash; callable from any thread.

        While two scans of a uid are sent at the same time it is unknown which one is meant: the frames that both have.
        """
        sent = [scan for scan in opened if scan.progress.sent_as == uid and scan.progress.placed]
        if len(sent) < 2 or not self.senders.is_disputed(uid):
            name = self.names.of(uid)
            scan = next((scan for scan in opened if scan.uid == name), None) or self.look_up(name)
            return [] if scan is None else list(runs_of(scan.safe[: scan.progress.highest + 1]))
        safe = np.ones(max(scan.progress.header.frames for scan in sent), dtype=bool)
        for scan in sent:
            safe[: scan.progress.header.frames] &= scan.safe
        return list(runs_of(safe))

    def meant_by(self, header: ScanHeader, opened: Iterable[ScanRecord], *, raw: bool = False) -> ScanRecord | None:
        """Return the newest scan that an arm message announces again; ``raw``: whatever basis it is stored in."""
        for scan in self._scans_of_uid(header.uid, opened):
            if _agrees(scan, header, raw=raw):
                return scan
        return None

    def meant(self, uid: str, source: int | None) -> str:
        """Return the name of the scan that a sender means by a uid. Raises WireError: unannounced, if undecidable."""
        if (name := self.senders.of(source, uid)) is not None:
            return name
        if source is not None:
            if self.senders.is_disputed(uid):
                text = f"uid {uid} refers to two scans, and the connection using it has announced neither"
                raise WireError(text, "unannounced")
            self.senders.took(source, uid, self.names.of(uid))
        return self.names.of(uid)

    def identified(
        self, header: ScanHeader, opened: Iterable[ScanRecord], waiting: Waiting, source: int | None = None
    ) -> ScanHeader:
        """Return an arm message under the name of its scan: a known one with the same header, or a new one.

        If several have the same header, choose the one its connection has meant before, or else the newest.
        """
        opened, early = list(opened), self.senders.took_early(source, header.uid)
        found = self._identified(header, opened, waiting, source)
        if early not in (None, found.uid):
            for scan in (*opened, *self.closed.values()):
                if scan.uid == early:
                    self._note_strangers(scan, "holds", "frames of the other scan arrived before it was announced")
        return found

    def refused(self, scan: ScanRecord) -> None:
        """Note that other data came for frames already present, and not as the first frames of another scan: the
        present ones may be of another sender, as of a connection that had announced nothing.
        """
        if scan.progress.senders == 1:
            self._note_strangers(scan, "may hold", "different data arrived for frames already received")

    def _note_strangers(self, scan: ScanRecord, verb: str, why: str) -> None:
        """Record and report that the frames of a scan include, or may include, frames of another sender."""
        scan.progress.senders = max(2, scan.progress.senders)
        self._recordings.note_senders(scan)
        text = f"scan {scan.uid} {verb} frames of two senders that both use uid {scan.progress.sent_as}"
        self._announcer.log("warning", f"{text}: {why}")

    def _identified(
        self, header: ScanHeader, opened: list[ScanRecord], waiting: Waiting, source: int | None
    ) -> ScanHeader:
        uid = header.uid
        candidates = self._scans_of_uid(uid, opened)
        agreeing = [scan for scan in candidates if _agrees(scan, header)]
        pending = [(name, armed) for name, (armed, sent_as) in waiting.items() if sent_as == uid]
        names = [
            *(scan.uid for scan in agreeing),
            *(name for name, armed in pending if same_header(armed, header)),
        ]
        own = self.senders.of(source, uid)
        if names:
            name = own if own in names else names[0]
            if name != self.names.of(uid):
                self.names.note(uid, name)
            doubtful = self._is_doubtful(uid, agreeing) if name != own else self.senders.is_doubtful(source, uid)
            if name != own and not doubtful:
                self._note_if_a_guess(uid, name, agreeing)
            self.senders.says(source, uid, name, doubtful=doubtful)
            return header.renamed(name, header.series)
        if not (candidates or pending):
            self.names.note(uid, uid)
            self.senders.says(source, uid, uid)
            return header
        return self.renamed(header, uid, f"uid {uid} was armed with another header", source)

    def _is_doubtful(self, uid: str, agreeing: list[ScanRecord]) -> bool:
        """Whether a new sender may mean any of several scans, each of which still needs frames."""
        unfinished = [scan for scan in agreeing if not scan.progress.complete]
        unheard = not any(scan.progress.heard for scan in unfinished)
        return len(unfinished) > 1 and (unheard or self.senders.is_disputed(uid))

    def _note_if_a_guess(self, uid: str, name: str, agreeing: list[ScanRecord]) -> None:
        """Record that a new sender is assigned to a scan only because this scan lacks frames: it may repeat those of
        another one, whose answer it has not heard.
        """
        assigned = next((scan for scan in agreeing if scan.uid == name), None)
        if assigned is None or len(agreeing) == 1:
            return
        progress = assigned.progress
        unheard = not progress.heard or self.senders.is_disputed(uid)
        if progress.placed and not progress.complete and unheard and progress.senders == 1:
            why = f"its uid was used for {len(agreeing)} scans, and it is being sent again"
            self._note_strangers(assigned, "may hold", why)

    def shown_by(self, message: FramesMessage, uid: str, opened: Iterable[ScanRecord]) -> ScanHeader | None:
        """Return the scan of a sender that may mean any of several (:class:`Senders`): one that has the same frames,
        or a new one. None where there is no such doubt.

        ``message``: frames under the name of a scan that its header fits. Raises WireError.
        """
        if not self.senders.is_doubtful(message.source, uid):
            return None
        of_uid = self._scans_of_uid(uid, opened)
        headers = [scan.progress.header for scan in of_uid if scan.uid == message.uid]
        if not headers:
            self.senders.says(message.source, uid, message.uid)
            return None
        like = [scan for scan in of_uid if _agrees(scan, headers[0])]
        for scan in like:
            if not scan.from_file and self._repeats(message, scan):
                self.senders.says(message.source, uid, scan.uid)
                return scan.progress.header
        last = message.first + message.count - 1
        why = f"frames {message.first} to {last} of uid {uid} may belong to any of {len(like)} scans, or to other data"
        return self.renamed(headers[0], uid, why, message.source)

    def _repeats(self, message: FramesMessage, scan: ScanRecord) -> bool:
        """Whether a scan has some of these frames, and none of their numbers with other data. Raises WireError."""
        arrival = Arrival(message, scan, exact=self._exact)
        arrival.check()
        present = ~scan.progress.fresh(message.first, message.count)
        try:
            return bool(arrival.repeated(present).any())
        except OtherDataError:
            return False

    def renamed(self, header: ScanHeader, uid: str, why: str, source: int | None = None) -> ScanHeader:
        """Give a scan whose uid is taken a new name and report it."""
        name = self.names.again(uid, self._is_in_use)
        self.senders.says(source, uid, name)
        self._announcer.log("warning", f"{why}: it is another scan, kept as {name}; give every scan its own uid")
        return header.renamed(name, header.series)

    def _is_in_use(self, name: str) -> bool:
        return any(name in names for names in self._name_sets) or self.look_up(name) is not None

    def count_senders(self, scan: ScanRecord) -> None:
        """Count the senders that mean an open scan; a new maximum is reported and recorded before frames of the new
        sender follow.
        """
        progress = scan.progress
        count = self.senders.count(progress.sent_as, scan.uid)
        if count <= progress.senders:
            return
        if progress.senders == 1:
            text = (
                f"scan {progress.header.series} is sent by two senders at the same time, both as uid {progress.sent_as}"
            )
            hint = "if these are two scans, frames sent by only one of them cannot be assigned"
            self._announcer.log("warning", f"{text}: {hint}; give every scan its own uid")
        progress.senders = count
        self._recordings.note_senders(scan)

    def armed_again(self, scan: ScanRecord, *, by_ping: bool) -> None:
        """Note that a scan was announced again: its frames, the rest of them, or another scan may follow."""
        if by_ping:
            return  # only the sender of the scan itself pings
        scan.armed_with = scan.progress.placed
        self._ask_marks(scan)

    def hold(self, scan: ScanRecord, message: FramesMessage) -> bool:
        """Keep frames of a closed scan until they can be taken in; False when this is possible now.

        Raises WireError when there is no room for them.
        """
        reason = self._reason_to_wait(scan)
        if not reason:
            return False
        if self.held.add(message, message.uid, message.source):
            return True
        if reason == "converting":
            raise WireError(f"frames of the closed scan {scan.uid}, whose recording is being made", "closed_scan")
        self._marks.take(scan.uid)  # too many frames to wait for the answer: they become a separate scan
        scan.from_file = False
        return False

    def hold_behind(self, message: Message, source: int | None) -> bool:
        """Keep messages of a scan that may be in a recording that has not been read, and other messages of a sender
        behind its waiting frames of the same uid, which belong to the scan before. False where none wait, where there
        is no room, and for frames of a known scan: see :meth:`hold`.
        """
        uid = message.header.uid if isinstance(message, ArmMessage) else message.uid
        if self.undecided.waits(uid) or (self.undecided.begins(message) and not self._is_in_use(self.names.of(uid))):
            return self.undecided.hold(uid, message, source)
        if isinstance(message, FramesMessage) or (isinstance(message, PingMessage) and message.header is None):
            return False
        named = [name for name in self.held.uids if name in self.closed and self.closed[name].progress.sent_as == uid]
        return bool(named) and self.held.add(message, named[-1], source)

    def released(self, *, at_end: bool = False) -> list[str]:
        """Scans whose held messages can be taken in now; ``at_end``: also those that may be in an unread recording."""
        free = []
        if at_end:
            self.undecided.give_up()
        self.undecided.settle()
        for name in self.held.uids:
            if self.undecided.waits(name):
                continue
            scan = self.closed.get(name)
            if scan is None or not self._reason_to_wait(scan):
                free.append(name)
        return free

    def _reason_to_wait(self, scan: ScanRecord) -> str:
        """Reason why frames of a closed scan cannot be taken in yet; empty when they can."""
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
        if self._recordings.is_converting(scan.uid) or self._recordings.is_due(scan.uid):
            return
        if scan.from_file and scan.target is not None:
            self._marks.ask(scan.uid, scan.target, scan.progress.header.frames)

    def _scans_of_uid(self, uid: str, opened: Iterable[ScanRecord]) -> list[ScanRecord]:
        """Return every known scan that a sender may mean by a uid, newest first, open ones before closed ones."""
        open_scans = list(opened)
        names = {scan.uid for scan in open_scans}
        if uid not in self._looked_up:
            self._count_earlier(uid, names)
        closed = []
        for name in self.names.newest(uid, _SCANS_OF_A_UID):
            if name not in names and (scan := self.find(name)) is not None:
                scan.progress.sent_as = uid
                closed.append(scan)
        late = [scan for scan in self.closed.values() if scan.progress.sent_as == uid]
        closed += [scan for scan in late if scan not in closed and self.names.is_new(uid, scan.uid)]  # found late
        return [scan for scan in open_scans if scan.progress.sent_as == uid][::-1] + closed

    def _count_earlier(self, uid: str, opened: Collection[str]) -> None:
        """Find out, once, how many scans of a uid earlier runs have recorded."""
        self._looked_up[uid] = None
        while len(self._looked_up) > _LOOKED_UP:
            self._looked_up.popitem(last=False)
        for name in self.names.used(uid):
            if name in opened or self.look_up(name) is not None:
                self.names.reach(uid, name)
            elif self.names.is_new(uid, name):
                return


def _agrees(scan: ScanRecord, header: ScanHeader, *, raw: bool = False) -> bool:
    """Whether an arm message may announce a known scan; ``raw``: before it is compressed like the known one."""
    known = scan.progress.header
    if raw and not known.basis.is_raw and "masks" in known.arrays:
        header = replace(header, basis=known.basis, arrays={**header.arrays, "masks": known.arrays["masks"]})
    return compatible_headers(known, header) if scan.from_file else same_header(known, header)
