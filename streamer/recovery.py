"""What an earlier run left in the recording folder: journals to take up again, and the frames they hold."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import Arm, FrameBatch, InputFileError, WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.journal import SUFFIX
from ptylive.streamer.journal_reader import JournalReader
from ptylive.streamer.vouched import is_vouched
from ptylive.streamer.wire import EndMessage, FrameLayout, FramesMessage, check_size, decode_frames

_BATCH_FRAMES = 64


@dataclass(frozen=True)
class Leftover:
    """A journal found on disk. ``received``: bool (frames,), of journal and earlier recording together.

    ``keep_bytes``: length up to the last whole record; ``end``: how the scan ended, None if it was cut off;
    ``damaged_bytes``: in the middle, which no whole record holds.
    """

    path: Path
    arm: Arm
    received: BoolArray
    keep_bytes: int
    end: EndMessage | None
    damaged_bytes: int = 0

    @property
    def target(self) -> Path:
        """The recording that belongs to the journal."""
        return self.path.with_suffix(".h5")


def journals(folder: Path) -> list[Path]:
    """Journals in a folder, oldest first; links that lead nowhere or in a circle, folders and the like are none."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            about = path.stat()
            if stat.S_ISREG(about.st_mode):
                found.append((about.st_mtime_ns, path))
    return [path for _, path in sorted(found)]


def read_leftover(path: Path) -> Leftover | None:
    """Read a journal through; None when another process holds it. Raises InputFileError when it is no journal."""
    with JournalReader(path) as reader:
        return _read_through(reader) if reader.lock() else None


def _read_through(reader: JournalReader) -> Leftover:
    received = _earlier(reader.arm, reader.path.with_suffix(".h5"))
    for message in reader.messages():
        received[message.first : message.first + message.count] = True  # beyond the last frame: nothing
    damaged = sum(stop - start for start, stop in reader.damage)
    return Leftover(reader.path, reader.arm, received, reader.keep_bytes, reader.end, damaged)


class HeldJournals:
    """Journals of other processes: a recorder may outlive the server that was killed, and finish its work.

    Their scans are known, so that a resend does not begin them anew.
    """

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}

    def add(self, path: Path) -> None:
        """Note a journal that another process holds; one without a whole arm record is of no scan."""
        with contextlib.suppress(InputFileError, OSError), JournalReader(path) as reader:
            self._paths[reader.arm.uid] = path

    def is_held(self, uid: str) -> bool:
        """Whether another process still works on the journal of a scan; once none does, the journal is forgotten."""
        path = self._paths.get(uid)
        if path is None:
            return False
        with contextlib.suppress(InputFileError, OSError), JournalReader(path) as reader:
            if not reader.lock():
                return True
        self._paths.pop(uid, None)
        return False

    def find(self, uid: str) -> Leftover | None:
        """What the journal of a scan holds; None when there is none any more."""
        path = self._paths.get(uid)
        if path is None:
            return None
        try:
            with JournalReader(path) as reader:
                return _read_through(reader)
        except (InputFileError, OSError):
            self._paths.pop(uid, None)
            return None


def stored_batches(arm: Arm, journal: Path) -> Iterator[FrameBatch]:
    """Everything stored of a scan: its recording, if there is one, then what its journal adds; each frame once."""
    seen = np.zeros(arm.frames, dtype=bool)
    target = journal.with_suffix(".h5")
    if _belongs(arm, target):
        from ptylive.streamer.storage.source import open_recording

        with open_recording(target) as source:
            for batch in source.batches(_BATCH_FRAMES):
                seen[batch.index] = True
                yield batch
    if journal.exists():
        with JournalReader(journal) as reader:
            for message in reader.messages():
                yield from _decoded(arm, message, seen)


def _decoded(arm: Arm, message: FramesMessage, seen: BoolArray) -> Iterator[FrameBatch]:
    """The patterns of a message that were not seen yet."""
    layout = FrameLayout.of(arm)
    try:
        check_size(message, layout)
    except WireError:
        return
    frames, good, _ = decode_frames(message, layout)
    index = np.arange(message.first, message.first + message.count)
    keep = good & ~seen[index]
    seen[index[keep]] = True
    if keep.any():
        yield FrameBatch(arm.uid, index[keep], frames if keep.all() else frames[keep])


def _earlier(arm: Arm, target: Path) -> BoolArray:
    """Frames that the recording beside a journal already holds."""
    if not _belongs(arm, target):
        return np.zeros(arm.frames, dtype=bool)
    from ptylive.streamer.storage.source import open_recording

    with open_recording(target) as source:
        return source.received.copy()


def _belongs(arm: Arm, target: Path) -> bool:
    """Whether ``target`` is a readable recording of this very scan."""
    if not target.exists() or not is_vouched(target):
        return False
    from ptylive.streamer.storage.source import open_recording

    try:
        with open_recording(target) as source:
            return source.arm.uid == arm.uid and source.frame_count == arm.frames
    except InputFileError:
        return False
