"""Index by uid of the scans recorded in a folder, so that a resend after a restart is recognised as such.

The index is in memory. This program's own recordings are added directly; other files are read in the background, by a
file worker, because they are not trusted. Querying the index opens nothing and waits for nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ptylive.schema import InputFileError, PtyliveError, ScanHeader
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.recording.journal_file import NAME_BEGINS, series_in_name
from ptylive.streamer.vetting.tasks import describe_recording
from ptylive.streamer.vetting.worker import FileWorker
from ptylive.streamer.wire.armmap import arm_from_map

NEWEST = 256
"""Number of recordings that are indexed: a resend follows its scan within hours, not years."""
MOST_ARRAY_BYTES = 512 * 2**20
"""Limit on the arrays (masks, positions) of the indexed scans, equal ones counted once."""
LOOK_EVERY_S = 5.0
_SETTLED_S = 2.0
SILENT_S = 15.0
"""If the folder has yielded nothing for this long, a scan does not wait to be recognised any more."""
_MADE_OF_ONE = ("_results", "_coefficients")
"""Endings of the names of files that were derived from a recording and carry its uid."""
_Stamp = tuple[int, int]


@dataclass(frozen=True)
class StoredRecording:
    """A recording on disk; ``received``: bool (frames,)."""

    path: Path
    header: ScanHeader
    received: BoolArray


@dataclass(frozen=True)
class _Entry:
    """An indexed file. header: None where it holds no scan; received: packed bits of frames that arrived, None: all."""

    stamp: _Stamp
    header: ScanHeader | None = None
    received: Array | None = None


class Catalogue:
    """Uids of the newest recordings in a folder. ``say`` receives reports of files that could not be read."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _text: None) -> None:
        self.folder = folder
        self._say = say
        self._worker = FileWorker()
        self._entries: dict[str, _Entry] = {}
        self._uids: dict[str, str] = {}
        self._arrays: dict[bytes, Array] = {}
        self._array_bytes = 0
        self._lock = threading.Lock()
        self._filled, self._stop, self._called = threading.Event(), threading.Event(), threading.Event()
        self._unread: list[str] | None = None
        """Names that have yet to be read, newest first; None before the folder is listed."""
        self._wanted: set[str] = set()
        self._expected, self._yielded_at = False, 0.0
        self._thread: threading.Thread | None = None

    def expect(self) -> None:
        """Note that the folder will be read soon: until then, no scan is taken for new."""
        self._expected, self._yielded_at = True, time.monotonic()

    def refresh(self, timeout_s: float) -> bool:
        """Start reading the folder periodically; wait for the first complete pass. False: it takes longer."""
        if self._thread is None and not self._stop.is_set():
            self.expect()
            self._thread = threading.Thread(target=self._run, name="catalogue", daemon=True)
            self._thread.start()
        return self._filled.wait(timeout_s)

    def look_again(self) -> None:
        """List the folder anew: another process has just made a recording. Until that is read, no scan is taken for
        new whose series it may have.
        """
        with self._lock:
            self._unread, self._yielded_at = None, time.monotonic()
            self._filled.clear()
            self._called.set()

    def find(self, uid: str) -> StoredRecording | None:
        """Return the newest recording of a scan, or None where none is known."""
        with self._lock:
            name = self._uids.get(uid)
            entry = None if name is None else self._entries.get(name)
        if name is None or entry is None or entry.header is None:
            return None
        frames = entry.header.frames
        received = np.ones(frames, bool) if entry.received is None else np.unpackbits(entry.received)[:frames] > 0
        return StoredRecording(self.folder / name, entry.header, received)

    def is_undecided(self, series: str) -> bool:
        """Whether a scan of this series may be in a recording that has yet to be read; those that have the series in
        their names are read next. False if the folder has not responded for a while.
        """
        if not self._expected or self._filled.is_set() or time.monotonic() - self._yielded_at > SILENT_S:
            return False
        name = series_in_name(series)[:NAME_BEGINS]  # earlier versions left out the end of a long one
        with self._lock:
            self._wanted.add(name)
            return self._unread is None or any(name in unread for unread in self._unread)

    def add(self, path: Path, header: ScanHeader, received: BoolArray) -> None:
        """Add a recording that this program has written."""
        with contextlib.suppress(OSError):
            found = path.stat()
            self._keep(path.name, _Entry((found.st_size, found.st_mtime_ns), header, _packed(received)))

    def close(self) -> None:
        """Stop reading, soon: a file that is being read is waited for in another thread."""
        self._stop.set()
        self._called.set()
        if self._thread is not None:
            self._thread.join(0.5)

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._worker.close()

    def _follow(self) -> None:
        """Check the folder periodically."""
        last_changed = -1
        while not self._stop.is_set():
            called = self._called.is_set()
            self._called.clear()
            changed = _changed_ns(self.folder)
            if called or changed != last_changed or time.time_ns() - changed < _SETTLED_S * 1e9:
                last_changed = changed
                self._read_folder()
            with self._lock:
                if not self._called.is_set():
                    self._filled.set()
            self._called.wait(LOOK_EVERY_S)

    def _read_folder(self) -> None:
        """Read new and changed files, newest first; drop deleted ones."""
        found = _recordings(self.folder)
        problems = []
        with self._lock:
            self._unread = [name for name, stamp in found.items() if not self._is_known(name, stamp)]
        while (name := self._next_unread()) and not self._stop.is_set():
            stamp = found[name]
            try:
                self._keep(name, self._read(name, stamp))
            except PtyliveError as error:
                self._keep(name, _Entry(stamp))
                problems.append(error.line())
        if self._stop.is_set():
            return
        self._worker.close()
        self._forget([name for name in set(self._entries) - set(found) if not (self.folder / name).exists()])
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            self._say(f"not a readable recording: {problems[0]}{more}")

    def _is_known(self, name: str, stamp: _Stamp) -> bool:
        known = self._entries.get(name)
        return known is not None and known.stamp == stamp

    def _next_unread(self) -> str:
        """Return the name of the file to read next, empty if all have been read."""
        with self._lock:
            unread = self._unread or [""]
            return next((name for name in unread if any(wanted in name for wanted in self._wanted)), unread[0])

    def _read(self, name: str, stamp: _Stamp) -> _Entry:
        """Read a file into an entry. Raises PtyliveError."""
        description = self._worker.read(describe_recording, self.folder / name)
        header, _ = arm_from_map(description["arm"], description["parts"])
        return _Entry(stamp, replace(header, arrays=self._shared(name, header)), description["received"])

    def _shared(self, name: str, header: ScanHeader) -> dict[str, Array]:
        """Return a scan's arrays, sharing equal ones between scans. Raises InputFileError when they are too large."""
        arrays = {}
        for kind, array in header.arrays.items():
            key = hashlib.sha256(
                np.ascontiguousarray(array).tobytes() + str((array.dtype, array.shape)).encode()
            ).digest()
            if key not in self._arrays:
                if self._array_bytes + array.nbytes > MOST_ARRAY_BYTES:
                    raise InputFileError(
                        f"{self.folder / name} has arrays that are too large", "a resend of it counts as new"
                    )
                self._arrays[key] = array
                self._array_bytes += array.nbytes
            arrays[kind] = self._arrays[key]
        return arrays

    def _keep(self, name: str, entry: _Entry) -> None:
        with self._lock:
            self._entries[name] = entry
            self._sort_out()
            self._yielded_at = time.monotonic()
            if self._unread and name in self._unread:
                self._unread.remove(name)

    def _forget(self, names: list[str]) -> None:
        with self._lock:
            for name in names:
                self._entries.pop(name, None)
            self._sort_out()

    def _sort_out(self) -> None:
        """Map uids to names, preferring the newest recording; drop the oldest recordings beyond the limit."""
        newest_last = sorted(self._entries, key=lambda name: self._entries[name].stamp[1])
        for name in newest_last[:-NEWEST]:
            del self._entries[name]
        newest = ((name, self._entries[name].header) for name in newest_last[-NEWEST:])
        self._uids = {header.uid: name for name, header in newest if header is not None}


def _recordings(folder: Path) -> dict[str, _Stamp]:
    """Size and time of the newest recordings of a folder, newest first; only ordinary files."""
    found: dict[str, _Stamp] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = Path(entry.name).stem, Path(entry.name).suffix
            if suffix != ".h5" or stem.startswith(".") or stem.endswith(_MADE_OF_ONE):
                continue
            with contextlib.suppress(OSError):  # gone meanwhile, or a dangling or circular link
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    found[entry.name] = (status.st_size, status.st_mtime_ns)
    newest = sorted(found, key=lambda name: found[name][1], reverse=True)[:NEWEST]
    return {name: found[name] for name in newest}


def _packed(received: BoolArray) -> Array | None:
    return None if received.all() else np.packbits(received)


def _changed_ns(folder: Path) -> int:
    """Time at which a file was last created, renamed or removed in a folder; 0 where it cannot be read."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
