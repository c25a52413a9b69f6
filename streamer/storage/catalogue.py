"""Finding the recording of a scan again, by its uid, so that a resend after a restart is known for what it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ptylive.schema import Arm, PtyliveError
from ptylive.schema.model import BoolArray

_NEWEST = 256
"""Only this many recordings are looked at: a resend follows its scan within hours, not years."""

_MADE_OF_ONE = ("_results", "_coefficients")
"""Ends of the names of files that were made of a recording and carry its uid."""


@dataclass(frozen=True)
class StoredRecording:
    """A recording on disk; ``received``: bool (frames,)."""

    path: Path
    arm: Arm
    received: BoolArray


class Catalogue:
    """Uids of the newest recordings in a folder; files are opened once, when a scan is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._uids: dict[tuple[str, int], str] = {}

    def refresh(self) -> None:
        """Read the uids now, so that the first scan does not wait for it."""
        for path in self._newest():
            self._uid(path)

    def find(self, uid: str) -> StoredRecording | None:
        """The newest recording of a scan, or None."""
        for path in self._newest():
            if self._uid(path) == uid:
                return self._load(path)
        return None

    def _newest(self) -> list[Path]:
        found = [
            p for p in self.folder.glob("*.h5") if not p.name.startswith(".") and not p.stem.endswith(_MADE_OF_ONE)
        ]
        return sorted(found, key=_changed_ns, reverse=True)[:_NEWEST]

    def _uid(self, path: Path) -> str:
        from ptylive.streamer.storage.hdf5 import attributes, opened

        key = (path.name, _changed_ns(path))
        if key not in self._uids:
            try:
                with opened(path) as file:
                    metadata = file.get("metadata")
                    self._uids[key] = "" if metadata is None else str(attributes(metadata).get("uid", ""))
            except PtyliveError:
                self._uids[key] = ""
        return self._uids[key]

    def _load(self, path: Path) -> StoredRecording | None:
        from ptylive.streamer.storage.source import open_recording

        try:
            with open_recording(path) as source:
                return StoredRecording(path, source.arm, source.received)
        except PtyliveError:
            return None


def _changed_ns(path: Path) -> int:
    """When a file was last written, ns; 0 for one that has gone meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
