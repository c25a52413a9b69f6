"""Files of a job whose worker cannot see the results folder: sent to it before the job and fetched afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ptylive.engine import results_file
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.results import dropped
from ptylive.schema import PtyliveError
from ptylive.schema.files.atomic import replacing
from ptylive.server.cluster.transfer import copy_maps, pieces
from ptylive.server.refinement.refine_job import RefineJob


class Far(Protocol):
    """The folder of a job on its worker, accessed by file names. Methods raise WorkerLost if the worker has gone."""

    def put(self, name: str, start: int, piece: bytes) -> None:
        """Write a piece of a file."""
        ...

    def get(self, name: str, start: int) -> bytes:
        """Read a piece of a file; empty at its end."""
        ...

    def changed(self, names: list[str]) -> list[str]:
        """Return the files written since the last call."""
        ...


class Home:
    """File transfer in both directions for one job. Methods raise OSError if local files cannot be read or written."""

    def __init__(self, job: RefineJob, far: Far) -> None:
        self._job, self._far = job, far
        number = len(job.preset.in_stages())
        place = job.checkpoint
        paths = [] if place is None else [checkpoints.of_stage(place, stage) for stage in range(1, number + 1)]
        self._checkpoints = {path.name: path for path in paths}

    def send(self) -> None:
        """Send maps and checkpoints of a resumed job."""
        if not self._job.resume:
            return
        for name, path in self._checkpoints.items():
            if path.exists():
                self._send(path, name)
        results = self._job.results
        if self._job.methods and results.exists():
            with _temporary_copy(results) as copy:
                copy_maps(results, copy)
                self._send(copy, results.name)

    def brought(self, message: dict[str, Any]) -> dict[str, Any]:
        """Fetch the files that a message of the refinement announces, and return the message."""
        if message["kind"] == "maps":
            with _temporary_copy(self._job.results) as copy:
                self._fetch(self._job.results.name, copy)
                copy_maps(copy, self._job.results)
        elif message["kind"] == "ended":
            self.fetch_checkpoints()
            if message["results"]:
                return {**message, **self._merge(message)}
        return message

    def fetch_checkpoints(self) -> None:
        """Fetch checkpoints written since the last call, each completely or not at all."""
        for name in self._far.changed(list(self._checkpoints)):
            with replacing(self._checkpoints[name]) as temporary:
                self._fetch(name, temporary)

    def _merge(self, ended: dict[str, Any]) -> dict[str, Any]:
        """Merge the refinement from the worker's file into the local results, or leave it next to them."""
        results, run = self._job.results, str(ended["run"])
        pending = results_file.pending_path(results, run)
        with replacing(pending) as temporary:
            self._fetch(Path(ended["results"]).name, temporary)
        if ended.get("outcome", {}).get("unchanged") and (earlier := dropped(results, pending, run)):
            return {"results": str(results), "run": earlier, "problem": ""}
        try:
            identity = results_file.Pending.read(pending).identity
            names = results_file.apply(results)
        except PtyliveError as error:
            problem = f"{error.line()}; the refinement is complete in {pending}"
            return {"results": str(pending), "run": run, "problem": problem}
        return {"results": str(results), "run": names[identity], "problem": ""}

    def _send(self, path: Path, name: str) -> None:
        for start, piece in pieces(path):
            self._far.put(name, start, piece)

    def _fetch(self, name: str, target: Path) -> None:
        with target.open("wb") as file:
            for piece in _until_empty(lambda: self._far.get(name, file.tell())):
                file.write(piece)


def _until_empty(read: Callable[[], bytes]) -> Iterator[bytes]:
    return iter(read, b"")


@contextmanager
def _temporary_copy(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary hidden file."""
    copy = path.with_name(f".{path.name}.{secrets.token_hex(8)}.copy")
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)
