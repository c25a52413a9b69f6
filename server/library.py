"""Past scans: the recording folder as a list, one scan opened again, notes, and pictures for elsewhere."""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.live.render import Rendering
from ptylive.schema import Calibration, CommandError, InputFileError, LiveMap, PtyliveError
from ptylive.schema.atomic import replacing
from ptylive.schema.model import BoolArray
from ptylive.server.finisher import results_path
from ptylive.server.messages import array_to_plain
from ptylive.server.scan_session import ScanSession

THUMBNAIL_SIDE = 96
THUMBNAIL_MAPS = ("obf", "idpc", "tcbf", "bf", "adf")
MOST_ENTRIES = 100
MAX_NOTE_CHARACTERS = 2000
MOST_REMEMBERED = 2000
TRASH = ".trash"
"""Where deleted scans go, in the recording folder; nothing empties it."""


@dataclass(frozen=True)
class StoredResults:
    """Maps of a results file with their coverage and calibration."""

    maps: tuple[LiveMap, ...]
    coverage: BoolArray
    calibration: Calibration


class Library:
    """The scans in a recording folder. Entries are read once and kept until a file changes."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[tuple[int, ...], dict[str, Any]]] = {}

    @property
    def folder(self) -> Path:
        """The recording folder. Raises CommandError when nothing is recorded."""
        if self._folder is None:
            raise CommandError("this server records nothing", "start it without --no-record")
        return self._folder

    def history(self, limit: int = 24, offset: int = 0) -> dict[str, Any]:
        """Entries of the newest recordings, newest first, and how many there are."""
        found = self._recordings()
        offset, limit = max(0, int(offset)), min(MOST_ENTRIES, max(1, int(limit)))
        return {"scans": [self._entry(path) for path in found[offset : offset + limit]], "count": len(found)}

    def _recordings(self) -> list[Path]:
        found = [p for p in self.folder.glob("*.h5") if not p.name.startswith(".") and not p.stem.endswith("_results")]
        return sorted(found, key=_changed_ns, reverse=True)

    def _entry(self, path: Path) -> dict[str, Any]:
        stamp = tuple(_changed_ns(p) for p in (path, results_path(path), note_path(path)))
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            entry = _describe(path)
        except (PtyliveError, OSError, KeyError, ValueError) as error:
            entry = {"problem": error.line() if isinstance(error, PtyliveError) else str(error)}
        entry = {"recording": path.name, "time": _changed_ns(path) / 1e9, "note": read_note(path), **entry}
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[path] = (stamp, entry)
        return entry

    def find(self, recording: str) -> Path:
        """The path of a recording of this folder by its name. Raises CommandError when there is none of that name."""
        path = self.folder / Path(recording).name
        if Path(recording).name != recording or not path.is_file() or path.suffix != ".h5":
            raise CommandError(f"there is no recording {recording!r} in {self.folder}", "see the command history")
        return path

    def discard(self, path: Path) -> Path:
        """Move a recording with its results, note, checkpoints and exports to `.trash`; returns where it lies now."""
        trash = self.folder / TRASH / f"{path.stem}_{time.strftime('%Y%m%d-%H%M%S')}"
        others = {other.stem for other in self._recordings()} - {path.stem}
        belonging = [p for p in self.folder.glob(f"{glob.escape(path.stem)}*") if _belongs(p.name, path.stem, others)]
        try:
            trash.mkdir(parents=True, exist_ok=True)
            for one in belonging:
                one.rename(trash / one.name)
        except OSError as error:
            raise CommandError(f"{path} could not be moved to {trash}: {error.strerror or error}") from None
        return trash / path.name

    def open(self, recording: str) -> ScanSession:
        """A past scan with its maps, as if it had just finished; its engine is made when something is changed."""
        path = self.find(recording)
        from ptylive.streamer.storage.source import open_source

        with open_source(path) as source:
            arm, received = source.arm, int(source.received.sum())
        ended = "complete" if received == arm.frames else "aborted"
        scan = ScanSession(arm, None, arm, recording=path, ended=ended, stored=Calibration())
        results = results_path(path)
        if results.exists():
            stored = read_results(results)
            scan.results, scan.stored = results, stored.calibration
            scan.take_stored(stored.coverage, Rendering(list(stored.maps)))
        scan.recorded.set()
        scan.finished.set()
        return scan


def _describe(path: Path) -> dict[str, Any]:
    """What the card of a scan shows."""
    from ptylive.engine.results import read_runs
    from ptylive.streamer.storage.source import open_source

    with open_source(path) as source:
        arm, received = source.arm, source.received
    results = results_path(path)
    entry: dict[str, Any] = {
        "uid": arm.uid,
        "series": arm.series,
        "shape": None if arm.scan.shape is None else list(arm.scan.shape),
        "frames": int(received.sum()),
        "lost": int(received.size - received.sum()),
        "bytes": path.stat().st_size,
        "results": results.name if results.exists() else "",
        "runs": {},
        "thumbnail": None,
        "calibration": {},
    }
    if results.exists():
        entry["runs"] = read_runs(results)
        stored = read_results(results, THUMBNAIL_MAPS)
        entry["calibration"] = stored.calibration.to_plain()
        entry["thumbnail"] = _thumbnail(stored)
    return entry


def _thumbnail(stored: StoredResults) -> dict[str, Any] | None:
    """The best map there is as uint8 {shape, dtype, data, map}, 1st to 99th percentile of what was visited."""
    by_name = {live_map.name: live_map for live_map in stored.maps}
    chosen = next((by_name[name] for name in THUMBNAIL_MAPS if name in by_name), None)
    if chosen is None:
        return None
    stride = max(1, -(-max(chosen.data.shape) // THUMBNAIL_SIDE))
    small = chosen.data[::stride, ::stride]
    low, high = np.percentile(small[np.isfinite(small)], (1, 99))
    shades = np.clip((small - low) / max(high - low, 1e-30) * 255, 0, 255)
    return {**array_to_plain(np.nan_to_num(shades).astype(np.uint8)), "map": chosen.name}


def read_results(path: Path, names: Iterable[str] | None = None) -> StoredResults:
    """Maps (all, or those of ``names``), coverage and calibration of a results file. Raises InputFileError."""
    import h5py

    wanted = None if names is None else set(names)
    try:
        with h5py.File(path, "r") as file:
            group = file.get("maps", {})
            maps = tuple(_stored_map(name, group[name]) for name in group if wanted is None or name in wanted)
            coverage = np.asarray(file["coverage"][()], dtype=bool)
            attributes = {k: _text(v) for k, v in file["calibration"].attrs.items()}
    except (OSError, KeyError) as error:
        raise InputFileError(f"{path}: not a results file of ptylive: {error}") from None
    return StoredResults(maps, coverage, Calibration.from_attributes(attributes))


def _stored_map(name: str, data: Any) -> LiveMap:
    attributes = {k: _text(v) for k, v in data.attrs.items()}
    sampling = attributes.get("sampling_A")
    return LiveMap(
        name=name,
        data=np.asarray(data[()], dtype=np.float32),
        units=str(attributes.get("units", "")),
        sampling_A=None if sampling is None else (float(sampling[0]), float(sampling[1])),
        frames=int(attributes.get("frames", 0)),
        method=str(attributes.get("method", "")),
        settings=json.loads(str(attributes.get("settings", "{}"))),
    )


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def note_path(recording: Path) -> Path:
    """Where the note of a recording is kept."""
    return recording.with_name(f"{recording.stem}_note.json")


def read_note(recording: Path) -> str:
    """The note of a recording; empty when there is none."""
    try:
        return str(json.loads(note_path(recording).read_text(encoding="utf-8"))["note"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def write_note(recording: Path, note: str) -> Path:
    """Keep a note beside its recording; an empty one removes it. Raises CommandError when it is too long."""
    if len(note) > MAX_NOTE_CHARACTERS:
        raise CommandError(f"a note has at most {MAX_NOTE_CHARACTERS} characters")
    path = note_path(recording)
    if not note.strip():
        path.unlink(missing_ok=True)
        return path
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"note": note, "time": time.time()}, ensure_ascii=False), encoding="utf-8")
    return path


def _belongs(name: str, stem: str, others: Iterable[str]) -> bool:
    """Whether a file is a recording's own: named after it, and not after a longer name of another recording."""
    if name != f"{stem}.h5" and not name.startswith(f"{stem}_"):
        return False
    return not any(
        len(other) > len(stem) and (name == f"{other}.h5" or name.startswith(f"{other}_")) for other in others
    )


def _changed_ns(path: Path) -> int:
    """When a file was last written, ns; 0 for one that is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
