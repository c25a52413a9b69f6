"""Data that an earlier run left in the recording folder: journals to take up again, and their frames.

These files are not trusted: a file worker reads them, so that a damaged or huge file costs its scan and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import FrameBatch, InputFileError, ScanHeader
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.recording.journal_file import SUFFIX
from ptylive.streamer.vetting.frames import LIMITS, PIECE_BYTES, read_frames
from ptylive.streamer.vetting.journals import journal_frames, read_journal
from ptylive.streamer.vetting.tasks import describe_recording
from ptylive.streamer.vetting.worker import FileWorker, Limits
from ptylive.streamer.wire import EndMessage
from ptylive.streamer.wire.armmap import arm_from_map

_BYTES_PER_CPU_S = 20e6
"""For a journal of the smallest records; it is read alongside the stream, so that nobody waits for a large one."""
_CPU_S, _WALL_S = 5.0, 3600.0
REMEMBERED_S = 15.0
"""How long a journal that has become a recording stands for it, until the catalogue finds that."""
ABANDONED_S = 60.0
"""A journal that its process has released for this long is not converted by it: a recorder begins within seconds."""


@dataclass(frozen=True)
class Leftover:
    """A journal found on disk. ``received``: bool (frames,), of journal and earlier recording together.

    ``keep_bytes``: length up to the last whole record; ``end``: how the scan ended, None if it was cut off;
    ``damaged_bytes``: number in no whole record; ``busy``: another process writes or converts it; ``torn_bytes``: of a
    last record that was cut short.
    """

    path: Path
    header: ScanHeader
    received: BoolArray
    keep_bytes: int
    end: EndMessage | None
    damaged_bytes: int = 0
    busy: bool = False
    torn_bytes: int = 0

    @property
    def target(self) -> Path:
        """The recording that belongs to the journal."""
        return self.path.with_suffix(".h5")


def journals(folder: Path) -> list[Path]:
    """Journals in a folder, oldest first; dangling or circular links, folders and the like do not count."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                found.append((status.st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def remove_never_begun(folder: Path) -> None:
    """Remove empty journals: the process that took their names was killed before the first record.

    Links and claimed files stay; a process that is just taking such a name creates the file again when it claims it.
    """
    for path in journals(folder):
        if path.is_symlink():
            continue
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not file.read(1):
                path.unlink()


def age_and_size(path: Path) -> tuple[float, int]:
    """Time in s since a file last changed, and its bytes; infinite if the file cannot be examined."""
    try:
        status = path.stat()
    except OSError:
        return float("inf"), 0
    return time.time() - status.st_mtime, status.st_size


def read_leftover(worker: FileWorker, path: Path) -> Leftover:
    """Read a whole journal. Raises InputFileError when it is invalid or unreadable; OSError when it is gone."""
    limits = Limits(cpu_s=_CPU_S + path.stat().st_size / _BYTES_PER_CPU_S, wall_s=_WALL_S)
    description = worker.read(read_journal, path, limits)
    header, _ = arm_from_map(description["arm"], description["parts"])
    recorded = _recorded(worker, path.with_suffix(".h5"))
    if recorded is not None:
        header = _with_recorded_name(header, recorded[0])
    received = (np.unpackbits(description["received"])[: header.frames] > 0) | _recorded_frames(header, recorded)
    end = None if description["end"] is None else EndMessage(header.uid, *description["end"])
    return Leftover(
        path,
        header,
        received,
        int(description["keep_bytes"]),
        end,
        int(description["damaged"]),
        bool(description["busy"]),
        int(description["torn"]),
    )


def stored_batches(
    worker: FileWorker, header: ScanHeader, journal: Path, say: Callable[[str], None] = lambda _text: None
) -> Iterator[FrameBatch]:
    """Yield everything stored of a scan: its recording, if any, then what its journal adds; each frame once.

    ``say`` receives reports of an unreadable recording. Raises InputFileError, OSError for an unreadable journal.
    """
    covered = np.zeros(header.frames, dtype=bool)
    target = journal.with_suffix(".h5")
    if _recorded_frames(header, _recorded(worker, target)).any():
        try:
            for batch in read_frames(worker, target):
                yield from _unseen(header, batch.index, batch.frames, covered)
        except InputFileError as error:
            say(error.line())
    following: tuple[int, int] | None = (0, 0) if journal.exists() else None
    while following is not None:
        part = worker.read(journal_frames, journal, LIMITS, at=following[0], skip=following[1], most_bytes=PIECE_BYTES)
        following = None if part["next"] is None else (int(part["next"][0]), int(part["next"][1]))
        for index, frames in part["batches"]:
            yield from _unseen(header, index, frames, covered)


def _unseen(header: ScanHeader, index: Array, frames: Array, covered: BoolArray) -> Iterator[FrameBatch]:
    """Yield the patterns that were not seen yet."""
    keep = ~covered[index]
    covered[index[keep]] = True
    if keep.any():
        yield FrameBatch(header.uid, index[keep], frames[keep])


def _recorded(worker: FileWorker, target: Path) -> tuple[ScanHeader, BoolArray] | None:
    """Scan of the recording next to a journal, and which frames it holds; None where it is not readable."""
    try:
        description = worker.read(describe_recording, target)
    except InputFileError:
        return None
    header, _ = arm_from_map(description["arm"], description["parts"])
    if description["received"] is None:
        return header, np.ones(header.frames, dtype=bool)
    return header, np.unpackbits(description["received"])[: header.frames] > 0


def _with_recorded_name(header: ScanHeader, recorded: ScanHeader) -> ScanHeader:
    """Rename the scan of a journal to the name in the recording next to it: it may have been renamed since the journal
    began, and the process that was to remove the journal was killed.
    """
    like = (recorded.series, recorded.frames, recorded.detector.shape) == (
        header.series,
        header.frames,
        header.detector.shape,
    )
    return header.renamed(recorded.uid, header.series) if like else header


def _recorded_frames(header: ScanHeader, recorded: tuple[ScanHeader, BoolArray] | None) -> BoolArray:
    """Frames of a scan that the recording next to its journal holds; none if that is of another scan."""
    same = recorded is not None and (recorded[0].uid, recorded[0].frames) == (header.uid, header.frames)
    return recorded[1] if recorded is not None and same else np.zeros(header.frames, dtype=bool)


@dataclass
class _HeldJournal:
    """A journal of another process. Times in s, of the monotonic clock; None as long as it has not happened."""

    leftover: Leftover
    released_s: float | None = None
    """When it was found that no process works on the journal any more."""
    gone_s: float | None = None
    """When it was found that the journal is not there any more: it has become a recording."""
    returned: bool = False
    """:meth:`HeldJournals.abandoned` has returned it."""
    settled: bool = False
    """This process has taken it over, or cannot read it."""


class HeldJournals:
    """Journals of other processes: a recorder may outlive a killed server, and finish its work.

    Their scans are known, so that a resend does not begin them anew. One thread examines them; queries never wait.
    """

    def __init__(self) -> None:
        self._held: dict[str, _HeldJournal] = {}
        """By uid of the scan."""

    def add(self, leftover: Leftover) -> None:
        """Note a journal that another process holds."""
        self._held[leftover.header.uid] = _HeldJournal(leftover)

    @property
    def any(self) -> bool:
        """Whether there are journals to examine."""
        return any(journal.gone_s is None for journal in self._journals())

    def look(self) -> bool:
        """Find out which journals nobody works on any more; return whether there is one more. May wait for the disk."""
        found = [item for item in self._journals() if item.released_s is None and not _is_locked(item.leftover.path)]
        for journal in found:
            journal.released_s = time.monotonic()
        return bool(found)

    def abandoned(self) -> list[Leftover]:
        """Journals that nobody has worked on for a while, and that are still there: the process that was to convert
        them has ended, too. Each is returned once.
        """
        found = []
        for journal in self._journals():
            if journal.released_s is None or journal.gone_s is not None:
                continue
            if not journal.leftover.path.exists():
                journal.gone_s = time.monotonic()
            elif not journal.returned and time.monotonic() - journal.released_s > ABANDONED_S:
                journal.returned = True
                found.append(journal.leftover)
        return found

    def settle(self, path: Path) -> None:
        """Note that this process has taken over a journal, or cannot read it: no other process will convert it."""
        for journal in self._journals():
            journal.settled |= journal.leftover.path == path

    def is_due(self, uid: str) -> bool:
        """Whether the recording of a scan is still to be made from a journal of another process, by that process or,
        once that has ended, by this one.
        """
        journal = self._held.get(uid)
        return journal is not None and journal.gone_s is None and not journal.settled

    def is_held(self, uid: str) -> bool:
        """Whether another process still works on the journal of a scan."""
        journal = self._held.get(uid)
        return journal is not None and journal.released_s is None

    def find(self, uid: str) -> Leftover | None:
        """Contents of a scan's journal when it was found; None once its recording should be in the catalogue."""
        journal = self._held.get(uid)
        if journal is None or (journal.gone_s is not None and time.monotonic() - journal.gone_s > REMEMBERED_S):
            return None
        return journal.leftover

    def _journals(self) -> list[_HeldJournal]:
        """Return the journals as they are now: another thread may add to them."""
        return list(self._held.values())


def _is_locked(path: Path) -> bool:
    """Whether another process has claimed a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
