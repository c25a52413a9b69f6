"""The frames of an untrusted file, in pieces, through a file worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ptylive.schema import FrameBatch
from ptylive.streamer.vetting.tasks import frames
from ptylive.streamer.vetting.worker import FileWorker, Limits

PIECE_BYTES = 32 * 2**20
LIMITS = Limits(cpu_s=10.0, wall_s=120.0)
"""Limits for one piece."""


def read_frames(worker: FileWorker, path: Path) -> Iterator[FrameBatch]:
    """Yield everything that arrived of a scan, in acquisition order. Raises InputFileError."""
    number: int | None = 0
    while number is not None:
        part = worker.read(frames, path, LIMITS, first=number, most_bytes=PIECE_BYTES)
        number = part["next"]
        if len(part["index"]):
            yield FrameBatch(part["uid"], part["index"], part["frames"])
