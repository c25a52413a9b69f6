"""``.npy``: (Ry, Rx, Qy, Qx), or (N, Qy, Qx) in acquisition order; with metadata from a Nion ``.json`` next to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.streamer.foreign.arrays import stored_frames
from ptylive.streamer.foreign.nion import read_described
from ptylive.streamer.storage.scan_file import ScanFile


@contextmanager
def open_npy(path: Path) -> Iterator[ScanFile]:
    """Open an array file, which is never read whole. Raises InputFileError."""
    frames = stored_frames(path)
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        yield ScanFile(frames)
        return
    described, metadata, notes = read_described(sidecar, frames)
    yield ScanFile(described, metadata, notes=notes)
