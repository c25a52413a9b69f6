"""A folder into which other programs write scans: which of its files are finished, and which have been taken up.

A file is finished when neither it nor any of its companions (a header next to its data, the parts of a DECTRIS series)
has changed for some seconds, and no program on this machine has it open for writing. Files present when the folder
was first watched are left alone; they, and all files taken up since, are kept in a list next to the recordings.
"""

from __future__ import annotations

import json
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ptylive.schema.errors import encodable
from ptylive.schema.files.small_files import read_text
from ptylive.streamer.foreign.formats import HDF5_NAMES, PICTURES_TOO, SUFFIXES
from ptylive.streamer.foreign.tvips import LATER_PART

MOST_FILES, DEEPEST = 20_000, 4
"""Maximum number of files examined, and maximum depth of nested folders."""
MOST_LIST_BYTES = 2**26
WATCHED_LIST = ".watched-files.jsonl"
HELD_S = 60.0
"""A file unchanged for this long counts as finished even if a program still has it open."""
_DATA_OF = {".json": (".npy", ".h5"), ".xml": (".raw",), ".hdr": ()}
"""Suffix of a header -> suffixes of the data it opens, of the same name; a Merlin .mib file is opened directly."""
_DECTRIS_DATA = re.compile(r"_data_\d+$")
_MADE_HERE = ("_results", "_coefficients")
_Stamp = tuple[int, int]
"""Size in bytes, time of the last change in ns."""
_Seen = tuple[int, int, int]
"""Size in bytes, and times in ns of the last change of the content, and of anything, for example permissions."""
_Companion = tuple[str, int, int, int]
"""Name, and what is seen of it."""


@dataclass(frozen=True)
class WatchedFile:
    """A scan in a file: its path, name, stamp and companions (name, size, times), which include the file itself."""

    path: Path
    name: str
    stamp: _Stamp
    companions: tuple[_Companion, ...]

    @property
    def uid(self) -> str:
        """Identity of the scan: the same for the same file, also after a restart while it is being sent."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"file:{self.name}|{self.stamp[0]}|{self.stamp[1]}"))


class WatchedFolder:
    """A watched folder, used by one thread; it is not examined before the first call of :meth:`finished`.

    ``settle_s``: how long a file must stay unchanged to count as finished; ``kept``: file that lists what was taken
    up, None to keep the list in memory only.
    """

    def __init__(self, folder: Path, settle_s: float, list_path: Path | None = None) -> None:
        self.folder, self._settle_s, self._list = folder, settle_s, list_path
        self.left_alone = 0
        """Number of files present when the folder was first watched."""
        self.unseen: set[str] = set()
        """Reasons why the last look did not see everything in the folder."""
        self._begun = False
        self._taken: set[tuple[str, int, int]] = set()
        self._refused: dict[str, tuple[_Companion, ...]] = {}
        self._unchanged: dict[str, tuple[tuple[_Companion, ...], float]] = {}
        """Companions of each unfinished file, and the time since which they are unchanged."""

    def files(self) -> Iterator[WatchedFile]:
        """Iterate over the scan files of the folder, one file per scan, oldest first."""
        found: dict[Path, dict[str, _Seen]] = {}
        for path, seen in self._walk():
            found.setdefault(path.parent, {})[path.name] = seen
        scans = [file for parent, names in found.items() for file in self._scans_of(parent, names)]
        return iter(sorted(scans, key=lambda file: (file.stamp[1], file.name)))

    def finished(self, now: float) -> list[WatchedFile]:
        """Return the files to be taken up. ``now``: seconds of a monotonic clock.

        The answer holds only at the time of the call: process one file, then call again.

        Raises OSError when the folder or the list cannot be read now; InputFileError when the list is not valid.
        """
        self._begin()
        present, settled = set(), []
        for file in self.files():
            present.add(file.name)
            if (file.name, *file.stamp) in self._taken or self._refused.get(file.name) == file.companions:
                continue
            before, since = self._unchanged.get(file.name, ((), now))
            if before != file.companions:
                self._unchanged[file.name] = (file.companions, now)
            elif now - since >= self._settle_s:
                settled.append((file, now - since))
        for name in set(self._unchanged) - present:
            del self._unchanged[name]
        written = paths_being_written() if any(unchanged_s < HELD_S for _, unchanged_s in settled) else frozenset()
        return [
            file for file, unchanged_s in settled if unchanged_s >= HELD_S or str(file.path.resolve()) not in written
        ]

    def take(self, file: WatchedFile) -> None:
        """Mark a file as taken up; it is not reported again unless it changes."""
        size, mtime_ns = file.stamp
        self._taken.add((file.name, size, mtime_ns))
        self._keep(file=file.name, size=size, mtime_ns=mtime_ns)
        self._unchanged.pop(file.name, None)

    def postpone(self, file: WatchedFile, now: float) -> None:
        """Put off a file that could not be sent; it is reported again after the same time without changes."""
        self._unchanged[file.name] = (file.companions, now)

    def forget(self, file: WatchedFile) -> None:
        """Forget a file that has disappeared; a file that appears under its name is treated as new."""
        self._unchanged.pop(file.name, None)

    def refuse(self, file: WatchedFile) -> None:
        """Skip a file that cannot be read until it or a companion changes, or the server restarts."""
        self._refused[file.name] = file.companions

    def _begin(self) -> None:
        """On the first call, read the list, or start it with the files present now."""
        if self._begun:
            return
        if self._list is None or not self._list.exists() or not self._read_list(self._list):
            present = list(self.files())
            for file in present:
                self.take(file)
            self._keep(folder=str(self.folder))  # last: if interrupted before, it starts afresh
            self.left_alone = len(present)
        self._begun = True

    def _scans_of(self, parent: Path, names: dict[str, _Seen]) -> Iterator[WatchedFile]:
        stems: dict[str, list[str]] = {}
        for name in names:
            stems.setdefault(_scan_name(name), []).append(name)
        for group in stems.values():
            companions = tuple(sorted((name, *names[name]) for name in group))
            for name in group:
                if _stands_for_a_scan(name, group):
                    path = parent / name
                    yield WatchedFile(path, str(path.relative_to(self.folder)), names[name][:2], companions)

    def _walk(self) -> Iterator[tuple[Path, _Seen]]:
        """Files whose format may be readable, with size and times; links to folders are not followed."""
        self.unseen = set()
        count, waiting = 0, [(self.folder, 0)]
        while waiting:
            folder, depth = waiting.pop()
            for entry in self._entries(folder):
                if encodable(entry.name) != entry.name:  # it could be neither sent nor stored
                    if entry.is_dir(follow_symlinks=False) or may_be_a_scan(Path(entry.name)):
                        self.unseen.add(f"{encodable(entry.name)}: its name is not UTF-8: rename it")
                elif entry.is_dir(follow_symlinks=False):
                    if depth < DEEPEST:
                        waiting.append((Path(entry.path), depth + 1))
                elif (seen := _seen(entry)) is not None:
                    if count >= MOST_FILES:
                        self.unseen.add(
                            f"it holds more than {MOST_FILES} files that may be scans: move the oldest ones elsewhere"
                        )
                        return
                    yield Path(entry.path), seen
                    count += 1

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """Return the visible entries of a folder; none for a subfolder that has disappeared or may not be read."""
        try:
            return [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError as error:
            if folder == self.folder:
                raise
            if not isinstance(error, FileNotFoundError):
                self.unseen.add(f"{folder.relative_to(self.folder)}: {error.strerror or error}")
            return []

    def _keep(self, **line: str | int) -> None:
        """Add a line to the list."""
        if self._list is not None:
            self._list.parent.mkdir(parents=True, exist_ok=True)
            with self._list.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line) + "\n")
                lines.flush()
                os.fsync(lines.fileno())

    def _read_list(self, list_path: Path) -> bool:
        """Read the list of files taken up; return whether this folder was watched before."""
        watched_before = False
        for line in read_text(list_path, MOST_LIST_BYTES).splitlines():
            with suppress(ValueError, KeyError, TypeError):  # half a line: the server was killed while it wrote
                entry = json.loads(line)
                if "folder" in entry:
                    watched_before |= entry["folder"] == str(self.folder)
                else:
                    self._taken.add((str(entry["file"]), int(entry["size"]), int(entry["mtime_ns"])))
        return watched_before


def may_be_a_scan(path: Path) -> bool:
    """Return whether a file may be a readable scan, judged by its name."""
    suffix = path.suffix.lower()
    return suffix not in PICTURES_TOO and suffix in (*SUFFIXES, *HDF5_NAMES)


def _seen(entry: os.DirEntry[str]) -> _Seen | None:
    """Return size and times of an ordinary file that may be a scan; None for anything else."""
    if not may_be_a_scan(Path(entry.name)):
        return None
    with suppress(OSError):  # deleted in the meantime, or a dangling link
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            return status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return None


def paths_being_written() -> frozenset[str]:
    """Return files open for writing in programs on this machine, as far as those may be inspected."""
    found: set[str] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            found |= {opened.path for opened in process.open_files() if getattr(opened, "mode", "r") != "r"}
    return frozenset(found)


def _scan_name(name: str) -> str:
    """Return the part of the name that the files of one scan have in common."""
    stem = Path(name).stem
    if Path(name).suffix.lower() == ".tvips":
        return LATER_PART.sub("_000", stem)
    return _DECTRIS_DATA.sub("", stem).removesuffix("_master")


def _stands_for_a_scan(name: str, group: list[str]) -> bool:
    """Return whether a file is the one to open among the files of its scan."""
    path = Path(name)
    if path.stem.endswith(_MADE_HERE):
        return False
    if _DECTRIS_DATA.search(path.stem):
        return not any(Path(sibling).stem.endswith("_master") for sibling in group)
    suffix = path.suffix.lower()
    if suffix == ".tvips" and LATER_PART.search(path.stem):
        return False  # read together with the first part
    suffixes = {Path(sibling).suffix.lower() for sibling in group if Path(sibling).stem == path.stem}
    if suffix in _DATA_OF:
        return any(data in suffixes for data in _DATA_OF[suffix])
    return not any(header in suffixes and suffix in data for header, data in _DATA_OF.items())
