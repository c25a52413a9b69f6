"""``python -m chaos.stored FOLDER HISTORY``: what is on disk after a run; every pattern is identified by its content.

A separate process, since files of a run that went wrong may hang their reader. Prints one JSON line for each file.
"""

import json
import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from chaos.history import read
from chaos.patterns import FRAMES, digest, pattern
from ptylive.schema import FrameBatch, PtyliveError, ScanHeader
from ptylive.streamer.recording.recovery import stored_batches
from ptylive.streamer.source import open_recording
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.vetting.worker import FileWorker

WORKER = FileWorker()
TEMPORARY = "temporary"
"""Folder for temporary files of the processes under test, next to that of the recordings."""
Known = dict[str, tuple[int, int]]


def known_patterns(tokens: Iterable[int]) -> Known:
    """Digest -> (token, number) of every pattern ever sent."""
    return {digest(pattern(token, number)): (token, number) for token in tokens for number in range(FRAMES)}


def files(folder: Path, dropped: Collection[str] = ()) -> Iterator[Path]:
    """Regular files of a recording folder and of its trash, except those that were ``dropped`` there; and refinements
    for which there was no room, which lie in the folder for temporary files.

    What the server made of a dropped journal counts: a copy of a scan's own journal is as good as that journal, and its
    sender's frames are appended to it.
    """
    yield from sorted((folder.parent / TEMPORARY).glob("*.pending"))
    for place in (folder, folder / ".trash"):
        for path in sorted(place.rglob("*") if place.name == ".trash" else place.glob("*")):
            if path.name not in dropped and stat.S_ISREG(path.lstat().st_mode):
                yield path


def look(path: Path, known: Known) -> dict[str, Any] | None:
    """What a file holds; None for a file that is neither a recording, a journal nor results."""
    try:
        if path.suffix == ".journal":
            with JournalReader(path) as reader:
                header = reader.header
            return {"what": "journal", **frames(header, stored_batches(WORKER, header, path), known)}
        if path.name.endswith(("_results.h5", ".pending")):
            return {"what": "results", "runs": runs(path)}
        if path.suffix == ".h5" and not path.name.startswith("."):
            with open_recording(path) as source:
                found = frames(source.header, source.batches(64), known)
            return {"what": "recording", "senders": senders(path), **found}
    except (PtyliveError, OSError) as error:
        return {"what": "unreadable", "error": str(error)}
    return None


def frames(header: ScanHeader, batches: Iterable[FrameBatch], known: Known) -> dict[str, Any]:
    """Frame numbers of each token, and the numbers of frames that are unknown or out of place."""
    found: dict[int, list[int]] = {}
    strange: list[int] = []
    for batch in batches:
        for number, frame in zip(batch.index, batch.frames, strict=True):
            token, own = known.get(digest(frame), (-1, -1))
            if own == number:
                found.setdefault(token, []).append(own)
            else:
                strange.append(int(number))
    return {"uid": header.uid, "series": header.series, "frames": found, "strange": strange}


def senders(path: Path) -> int:
    """Number of senders that, according to the recording, announced it at the same time."""
    import h5py

    with h5py.File(path, "r") as file:
        return int(file.attrs.get("senders", 1))


def runs(path: Path) -> dict[str, dict[str, Any]]:
    """State and last loss of each refinement."""
    import h5py

    with h5py.File(path, "r") as file:
        return {
            name: {
                "state": str(group.attrs.get("state", "")),
                "loss": float(group["loss"][-1]) if len(group["loss"]) else None,
            }
            for name, group in file.get("refinements", {}).items()
        }


def main(folder: Path, history: Path) -> None:
    """Look at every file."""
    known = known_patterns({entry["token"] for entry in read(history) if entry["kind"] == "sender_began"})
    dropped = {entry["name"] for entry in read(history) if entry["kind"] == "dropped"}
    for path in files(folder, dropped):
        if (found := look(path, known)) is not None:
            print(json.dumps({"file": os.path.relpath(path, folder), **found}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
