"""Code run on a cluster worker: one refinement in a separate process, controlled remotely (a Dask actor).

Messages in both directions are msgpack, as between server and refinement process. Files sent to it are kept in the
worker's own folder, which is removed with the worker.
"""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from collections import deque
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ptylive.server.cluster.transfer import PIECE_BYTES, FileIdentity
from ptylive.server.refinement.job_process import JobProcess
from ptylive.server.refinement.refine_job import PICTURES, RefineJob
from ptylive.server.wire.messages import pack, unpack

RECORDING = "recording-"
MOST_HEARD = 64
"""Maximum number of messages sent at a time."""
_active: weakref.WeakSet[Runner] = weakref.WeakSet()


def is_busy() -> bool:
    """Return whether a refinement is running on this worker."""
    return bool(_active)


class Runner:
    """One job on this worker. ``name`` is unique; the methods are called one after the other."""

    def __init__(self, name: str, folder: str = "") -> None:
        self._cache = Path(folder or _worker_folder()) / "ptylive"
        self._folder = self._cache / Path(name).name
        self._process: JobProcess | None = None
        self._heard: deque[dict[str, Any]] = deque()
        self._ended: list[str] = []
        self._stamps: dict[str, int] = {}
        self._far = False
        """Whether the results folder cannot be seen from here."""
        self._stored: Path | None = None
        """File that holds the refinement, if it is to be fetched."""
        self._reading: Any = None

    def begin(self, offer: bytes) -> bytes:
        """Report whether this worker is free, its version, and whether it sees the recording and the results folder."""
        request = unpack(offer)
        busy = any(active is not self for active in _active)
        identity = FileIdentity.from_plain(request["identity"])
        marker = Path(request["folder"]) / request["marker"]
        sent = self._sent(identity, request["recording"])
        answer = {
            "busy": busy,
            "version": version("ptylive"),
            "sees_recording": identity.is_of(Path(request["recording"])),
            "has_recording": sent.exists() and sent.stat().st_size == identity.file_bytes,
            "sees_folder": _text(marker) == request["marker"],
        }
        if not busy:
            _active.add(self)
            self._folder.mkdir(parents=True, exist_ok=True)
        return pack(answer)

    def put(self, name: str, start: int, piece: bytes) -> None:
        """Write a piece of a file in the job's own folder."""
        self._write(self._folder / Path(name).name, start, piece)

    def put_recording(self, identity: list[Any], path: str, start: int, piece: bytes) -> None:
        """Write a piece of a recording; an empty piece ends it. The last recording sent is kept for later jobs."""
        target = self._sent(FileIdentity.from_plain(identity), path)
        part = target.with_name(target.name + ".part")
        if start == 0:
            for earlier in self._cache.glob(f"{RECORDING}*"):
                shutil.rmtree(earlier, ignore_errors=True)
        if piece:
            self._write(part, start, piece)
        else:
            part.replace(target)

    def start(self, job: bytes, where: bytes) -> None:
        """Start. ``where``: which of the job's files cannot be seen from here and are therefore in the job's folder."""
        given, access = RefineJob.from_plain(unpack(job)), unpack(where)
        if not access["sees_recording"]:
            sent = self._sent(FileIdentity.from_plain(access["identity"]), str(given.recording))
            given = replace(given, recording=sent, known=())
        self._far = not access["sees_folder"]
        if self._far:
            checkpoint = None if given.checkpoint is None else self._folder / given.checkpoint.name
            given = replace(given, results=self._folder / given.results.name, checkpoint=checkpoint)
        process = JobProcess(replace(given, ends_at_once=True))
        self._process = process
        weakref.finalize(self, process.kill)  # for when the requester is gone and Dask has released this
        listening = (process, self._heard, self._ended)
        threading.Thread(target=_listen, args=listening, name="ptylive refinement", daemon=True).start()

    def tell(self, message: bytes) -> None:
        """Pass a message on to the refinement."""
        if self._process is not None:
            self._process.tell(unpack(message))

    def hear(self) -> bytes:
        """Return messages since the last call, with only the latest pictures. ``ended``: text after the last one."""
        ended = bool(self._ended)
        messages = [self._heard.popleft() for _ in range(min(len(self._heard), MOST_HEARD))]
        for message in messages:
            if self._far and message["kind"] == "ended" and message["results"]:
                self._stored = Path(message["results"])
        shown = [message for message in messages if "object" in message]
        for message in shown[:-1]:
            for name in PICTURES:
                message.pop(name, None)
        ending = self._ended[0] if ended and not self._heard else None
        return pack({"messages": messages, "ended": ending})

    def changed(self, names: list[str]) -> list[str]:
        """Return which of the named files have been written since the last call, oldest first."""
        found = []
        for name in names:
            try:
                stamp = (self._folder / Path(name).name).stat().st_mtime_ns
            except OSError:
                continue
            if self._stamps.get(name) != stamp:
                found.append((stamp, name))
        for stamp, name in found:
            self._stamps[name] = stamp
        return [name for _, name in sorted(found)]

    def get(self, name: str, start: int) -> bytes:
        """Return a piece of a file, as it was when its first piece was requested; empty at its end."""
        if start == 0:
            self._close()
            self._reading = self._file(name).open("rb")
        self._reading.seek(start)
        piece = bytes(self._reading.read(PIECE_BYTES))
        if not piece:
            self._close()
        return piece

    def end(self) -> None:
        """End the refinement in whatever state it is, and remove everything of this job except its recording."""
        _active.discard(self)
        if self._process is not None:
            self._process.end()
        self._close()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._stored is not None:  # elsewhere, if this folder was full
            self._stored.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        """Return the path of a file of this job: in its folder, except for a refinement that found no room there."""
        stored = self._stored
        return stored if stored is not None and stored.name == name else self._folder / Path(name).name

    def _sent(self, identity: FileIdentity, path: str) -> Path:
        """Return the path of a recording that was sent, with its own file name, which the results record."""
        return self._cache / f"{RECORDING}{identity.name}" / Path(path).name

    def _write(self, path: Path, start: int, piece: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if start == 0 else 0) | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(piece)
            while rest:  # a disk that is almost full takes a part, and refuses the rest
                written = os.pwrite(handle, rest, start)
                rest, start = rest[written:], start + written
        finally:
            os.close(handle)

    def _close(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


def _listen(process: JobProcess, messages: deque[dict[str, Any]], ended: list[str]) -> None:
    """Collect the messages of a refinement until it has ended, without a reference that keeps the runner alive."""
    for message in process.messages():
        messages.append(message)
    ended.append(process.ending())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _worker_folder() -> str:
    from distributed import get_worker

    return str(get_worker().local_directory)
