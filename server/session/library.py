"""Past scans: listing the recording folder, reopening a scan, notes, and files for download."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.calibrate.detector import given_quantities
from ptylive.engine.imaging.render import Rendering
from ptylive.engine.results import read_runs
from ptylive.engine.stored_maps import other_places
from ptylive.schema import Calibration, CommandError, InputFileError, PtyliveError
from ptylive.schema.calibration import Origin
from ptylive.schema.errors import brief
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import read_text
from ptylive.schema.metadata import NAMES, overlay
from ptylive.schema.pattern.undistorted import Undistorted
from ptylive.server.session.library_filter import RefinedScans, Wanted
from ptylive.server.session.run_names import how_to_make, results_path
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.stored_scans import (
    describe_object,
    describe_results,
    describe_scan,
    map_of,
    read_results,
    scan_header,
)
from ptylive.server.session.waiting_results import merge_waiting_now
from ptylive.streamer.vetting.worker import FileWorker, Limits
from ptylive.streamer.wire.armmap import arm_from_map

log = logging.getLogger(__name__)

PATIENCE_S = 1.5
"""How long an answer waits for entries still being read."""
LARGE = Limits(cpu_s=20.0, wall_s=60.0)
"""Time limits for reading all maps of a scan."""
MOST_ENTRIES = 100
MAX_NOTE_CHARACTERS = 2000
MOST_SAMPLE = 80
MAX_NOTE_BYTES = 64 * 2**10
MOST_REMEMBERED = 2000
TRASH = ".trash"
"""Subfolder of the recording folder for deleted scans; it is never emptied automatically."""
_Stamp = tuple[int, ...]


class Library:
    """The scans in a recording folder. Entries are read once and cached until a file changes.

    These files are not trusted: the worker ``files`` opens them. Callable from any thread.
    """

    def __init__(
        self, folder: Path | None, files: FileWorker, tell: Callable[[str, str], None] = lambda level, line: None
    ) -> None:
        """``tell``: takes level and line about a problem with a results file."""
        self._folder, self._files, self._tell = folder, files, tell
        self._known: dict[Path, tuple[_Stamp, dict[str, Any]]] = {}
        self._wanted: list[Path] = []
        self._changed = threading.Condition()
        self._reader: threading.Thread | None = None
        self._refined = RefinedScans(self._has_runs)

    @property
    def folder(self) -> Path:
        """The recording folder. Raises CommandError when nothing is recorded."""
        if self._folder is None:
            raise CommandError("this server records nothing", "start it without --no-record")
        return self._folder

    def history(self, limit: int = 24, offset: int = 0, wanted: Wanted | None = None) -> dict[str, Any]:
        """Return entries of the newest matching recordings, newest first, and the number of matches.

        An entry that could not be read at once says so and is read in the background; call again to get it. ``total``:
        number of all recordings; ``pending``: number of recordings not examined yet.
        """
        every = self._recordings()
        found, pending = self._matching(every, wanted or Wanted())
        offset, limit = max(0, int(offset)), min(MOST_ENTRIES, max(1, int(limit)))
        page = found[offset : offset + limit]
        with self._changed:
            self._wanted = [path for path in page if not self._is_known(path)]
            if self._wanted and (self._reader is None or not self._reader.is_alive()):
                self._reader = threading.Thread(target=self._read_wanted, name="library", daemon=True)
                self._reader.start()
            self._changed.wait_for(lambda: not self._wanted, PATIENCE_S)
        entries = [self._known[path][1] if path in self._known else _unread_entry(path) for path in page]
        return {"scans": entries, "count": len(found), "total": len(every), "pending": pending}

    def _matching(self, paths: list[Path], wanted: Wanted) -> tuple[list[Path], int]:
        """Return the matching recordings, and how many could not be examined in time."""
        if wanted.everything:
            return paths, 0
        found = [p for p in paths if wanted.dated(_changed_ns(p) / 1e9) and wanted.names(p, remarks)]
        if not wanted.refined:
            return found, 0
        refined, pending = self._refined.among(results_path(path) for path in found)
        return [path for path in found if results_path(path) in refined], pending

    def _has_runs(self, results: Path) -> bool:
        """Return whether a results file holds a refinement; False if it cannot be read."""
        try:
            return bool(self._files.read(read_runs, results))
        except InputFileError:
            return False

    def _recordings(self) -> list[Path]:
        found = [p for p in self.folder.glob("*.h5") if not p.name.startswith(".") and not p.stem.endswith("_results")]
        return sorted(found, key=_changed_ns, reverse=True)

    def _is_known(self, path: Path) -> bool:
        known = self._known.get(path)
        return known is not None and known[0] == _stamp(path)

    def _read_wanted(self) -> None:
        """Read the entries last requested, in a separate thread: a damaged file can take long."""
        while True:
            with self._changed:
                if not self._wanted:
                    self._changed.notify_all()
                    self._reader = None
                    return
                path = self._wanted[0]
            stamp = _stamp(path)
            try:
                entry = self._entry(path)
            except Exception as error:  # a faulty scan must not end the thread the others wait for
                log.exception("the entry of %s", path)
                entry = {**_unread_entry(path), "problem": f"{path.name}: cannot be read: {error!r}"}
            with self._changed:
                if len(self._known) >= MOST_REMEMBERED:
                    self._known.clear()
                self._known[path] = (stamp, entry)
                self._wanted = [other for other in self._wanted if other != path]

    def _entry(self, path: Path) -> dict[str, Any]:
        """Return what the card of a scan shows; for a file that cannot be read, the reason instead."""
        results = results_path(path)
        entry = {"recording": path.name, "time": _changed_ns(path) / 1e9, **read_remark(path)}
        try:
            entry.update(self._files.read(describe_scan, path))
        except InputFileError as error:
            return {**entry, "problem": error.line()}
        entry.update(results="", runs={}, thumbnail=None, object=None, calibration={})
        merge_waiting_now(results, self._tell)
        if os.path.lexists(results):
            try:
                entry.update(self._files.read(describe_results, results), results=results.name)
                entry.update(object=self._object_of(results) if entry["runs"] else None)
            except InputFileError as error:
                entry["results_problem"] = error.line()
        else:
            entry["results_problem"] = f"no maps yet; {how_to_make(path)}"
        return entry

    def _object_of(self, results: Path) -> dict[str, Any] | None:
        """Return the thumbnail of the refined object; None if it cannot be read, which leaves the rest of the entry."""
        try:
            found: dict[str, Any] | None = self._files.read(describe_object, results, LARGE)
        except InputFileError as error:
            log.info("no thumbnail of the object: %s", error.line())
            return None
        return found

    def find(self, recording: str) -> Path:
        """Return the path of a recording in this folder by name. Raises CommandError if there is no such recording."""
        path = self.folder / Path(recording).name
        if Path(recording).name != recording or path.suffix != ".h5" or not _exists(path):
            raise CommandError(f"there is no recording {brief(recording)} in {self.folder}", "see the command history")
        return path

    def discard(self, path: Path) -> Path:
        """Move a recording with its results, note, checkpoints and exports to `.trash`; return its new path."""
        trash = self.folder / TRASH / f"{path.stem}_{time.strftime('%Y%m%d-%H%M%S')}"
        belonging = self._files_of(path)
        try:
            trash.mkdir(parents=True, exist_ok=True)
            for file in belonging:
                file.rename(trash / file.name)
        except OSError as error:
            raise CommandError(f"{path} could not be moved to {trash}: {error.strerror or error}") from None
        return trash / path.name

    def restore(self, recording: str) -> Path:
        """Move the most recently deleted recording of that name back from `.trash`, with its files; return its path.

        Raises CommandError if there is none, or if a file of the same name has appeared in the meantime.
        """
        stem = re.escape(Path(recording).stem)
        folders = sorted((self.folder / TRASH).glob("*"), key=lambda path: path.name, reverse=True)
        found = (path for path in folders if re.fullmatch(rf"{stem}_\d{{8}}-\d{{6}}", path.name))
        trash = next((path for path in found if (path / recording).is_file()), None)
        if trash is None or Path(recording).name != recording:
            raise CommandError(f"{brief(recording)} is not in the trash", f"see the folder {self.folder / TRASH}")
        present = [self.folder / path.name for path in trash.iterdir() if (self.folder / path.name).exists()]
        if present:
            raise CommandError(
                f"{present[0].name} has been created in the meantime", f"move it away, or copy the files from {trash}"
            )
        try:
            # the recording last, so that a listed scan has all its files
            for path in sorted(trash.iterdir(), key=lambda path: path.name == recording):
                path.rename(self.folder / path.name)
            trash.rmdir()
        except OSError as error:
            raise CommandError(f"{recording} could not be restored: {error.strerror or error}") from None
        return self.folder / recording

    def _files_of(self, path: Path) -> list[Path]:
        other_stems = {recording.stem for recording in self._recordings()} - {path.stem}
        names = (f"{glob.escape(path.stem)}*", f".{glob.escape(path.stem)}_results.h5.*")  # hidden: names of runs
        found = (p for pattern in names for p in self.folder.glob(pattern))
        return [p for p in found if _belongs(p.name.removeprefix("."), path.stem, other_stems)]

    def files(self, recording: str) -> list[Path]:
        """Return a recording, its results and its exports: regular files only, the recording first."""
        path = self.find(recording)
        found = [p for p in self._files_of(path) if p.is_file() and not p.is_symlink() and not p.name.startswith(".")]
        return sorted(found, key=lambda file: (file != path, file.name))

    def open(self, recording: str) -> ScanSession:
        """Open a past scan with its maps, as if it had just finished; its engine is made when a value is changed."""
        path = self.find(recording)
        description = self._files.read(scan_header, path)
        header, _ = arm_from_map(description["arm"], description["parts"])
        ended = "aborted" if description["missing"] else "complete"
        flat = Undistorted.of(header)  # its frames are read corrected for distortion
        header = header if flat is None else flat.header
        scan = ScanSession(header, None, header, recording=path, ended=ended, stored=Calibration())
        results = results_path(path)
        merge_waiting_now(results, self._tell)
        if results.exists():
            stored = self._files.read(read_results, results, LARGE)
            scan.results, scan.stored = results, Calibration.from_attributes(stored["calibration"])
            if stored["coverage"] is not None:
                scan.take_stored(stored["coverage"], Rendering([map_of(found) for found in stored["maps"]]))
            self._reapply(scan, results, stored["places"], in_place=flat is not None)
        scan.recorded.set()
        scan.finished.set()
        return scan

    def _reapply(self, scan: ScanSession, results: Path, places: Mapping[str, Any], *, in_place: bool) -> None:
        """Apply to a past scan the values users had given when its maps were made, since the maps depend on them."""
        values = _differing_values(scan, places, in_place=in_place)
        try:
            scan.header, scan.values = overlay(scan.source, values, "values of its results"), values
        except PtyliveError as error:
            self._tell("warning", f"{results.name}: {error.line()}: the scan is shown as it was recorded")


def _differing_values(scan: ScanSession, places: Mapping[str, Any], *, in_place: bool) -> dict[str, Any]:
    """Return values used for a past scan's maps that differ from its recording; None: withdrawn and estimated."""
    recorded = {name: item.value for name, item in given_quantities(scan.source).items()}
    stored, given = scan.calibration, scan.calibration.given(in_place=in_place)
    differing = {
        name: value
        for name, value in given.items()
        if name not in recorded or not np.array_equal(recorded[name], value)
    }
    measured = {"detector_pixel_invA"} | ({"beam_center_px"} if in_place else set())
    withdrawn = {name for name in recorded.keys() - measured if stored.origin(name) not in (None, Origin.GIVEN)}
    placed = other_places(places, scan.coverage.shape if scan.coverage.size else None, scan.source.scan)
    plain = {
        name: list(value) if isinstance(value, tuple) else value for name, value in differing.items() if name in NAMES
    }
    return {**plain, **dict.fromkeys(sorted(withdrawn)), **placed}


def _exists(path: Path) -> bool:
    """Return whether the file exists; also False for names that are too long or contain invalid characters."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _unread_entry(path: Path) -> dict[str, Any]:
    """Return the entry of a scan that has not been read yet."""
    return {
        "recording": path.name,
        "time": _changed_ns(path) / 1e9,
        "note": "",
        "sample": "",
        "problem": f"{path.name}: being read",
    }


def _stamp(path: Path) -> _Stamp:
    """Return a stamp that changes when a scan has to be read again."""
    return tuple(_changed_ns(p) for p in (path, results_path(path), note_path(path)))


def note_path(recording: Path) -> Path:
    """Return the path of a recording's note."""
    return recording.with_name(f"{recording.stem}_note.json")


def read_remark(recording: Path) -> dict[str, Any]:
    """Return ``note``, ``sample`` and ``author`` of a recording, and ``noted``, their Unix time (0: there is none)."""
    try:
        stored = json.loads(read_text(note_path(recording), MAX_NOTE_BYTES))
        remark = {"note": str(stored["note"]), "sample": str(stored.get("sample") or "")[:MOST_SAMPLE]}
        return {**remark, "author": str(stored.get("author") or ""), "noted": float(stored.get("time") or 0)}
    except (InputFileError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"note": "", "sample": "", "author": "", "noted": 0.0}


def remarks(recording: Path) -> str:
    """Return the searchable text of note and sample."""
    remark = read_remark(recording)
    return f"{remark['note']} {remark['sample']}"


def write_note(recording: Path, note: str | None, author: str = "", sample: str | None = None) -> Path:
    """Save note and sample next to their recording; None leaves either unchanged, and if both are empty the file is
    removed.

    Raises CommandError if a text is too long or the file cannot be written.
    """
    before = read_remark(recording)
    note = before["note"] if note is None else note
    sample = before["sample"] if sample is None else " ".join(sample.split())
    if len(note) > MAX_NOTE_CHARACTERS:
        raise CommandError(f"a note can have at most {MAX_NOTE_CHARACTERS} characters")
    if len(sample) > MOST_SAMPLE:
        raise CommandError(f"the name of a sample can have at most {MOST_SAMPLE} characters")
    path = note_path(recording)
    content = json.dumps({"note": note, "sample": sample, "author": author, "time": time.time()}, ensure_ascii=False)
    try:
        if not note.strip() and not sample:
            path.unlink(missing_ok=True)
            return path
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8", errors="replace")
    except OSError as error:
        problem = f"{path} could not be written: {error.strerror or error}"
        raise CommandError(problem, "make room, or check the permissions; the note is unchanged") from None
    return path


def _belongs(name: str, stem: str, other_stems: Iterable[str]) -> bool:
    """Return whether a file belongs to a recording: named after it, and not after another one with a longer name."""
    if name not in (f"{stem}.h5", f"{stem}.checkpoint") and not name.startswith(f"{stem}_"):
        return False
    return not any(
        len(longer) > len(stem) and (name == f"{longer}.h5" or name.startswith(f"{longer}_")) for longer in other_stems
    )


def _changed_ns(path: Path) -> int:
    """Return when a file was last written, in ns; 0 for a missing file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
