"""Check a whole file in another process, which can be killed, before a program opens it in its own."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from ptylive.schema.metadata import MASKS, arrays_and_numbers
from ptylive.streamer.detector_arrays import given_path
from ptylive.streamer.foreign.formats import HDF5_NAMES
from ptylive.streamer.vetting.tasks import walk, walk_hdf5
from ptylive.streamer.vetting.worker import FileWorker, Limits

CPU_S, FOREIGN_CPU_S = 3.0, 60.0
"""For a small file; importing readers of foreign formats takes seconds, and some read a whole file."""
BYTES_PER_CPU_S = 2e9
"""Allowance for larger files, which have longer lists of chunks."""
WALL_S = 600.0
KEPT_S = 30.0
"""How long the worker waits for another file."""


def vet(path: Path, values: Mapping[str, Any] | None = None, *results: Path) -> None:
    """Check a scan file, the files that ``values`` name, and results files that belong to it.

    ``values``: as for open_source.

    Raises InputFileError for a file that is read for ever, crashes its reader or requests half of the machine's memory.
    Missing files and files of another kind are left to the function that opens them, whose messages are better.
    """
    images, numbers = arrays_and_numbers(values or {})
    if (masks := images.pop(MASKS, None)) is not None:
        numbers[MASKS] = masks
    vet_images(images)
    with _READER.worker() as worker:
        if is_file(path):
            worker.read(walk, path, _limits(path), values=numbers)
        _look_through(worker, results)


def vet_images(images: Mapping[str, Any]) -> None:
    """Like :func:`vet`, for detector images given as scans; .npy files are mapped, and checked when they are opened.

    Arrays need no check.
    """
    for given in images.values():
        named = isinstance(given, str | Path)
        if named and (image := given_path(given)).suffix != ".npy" and is_file(image):
            with _READER.worker() as worker:
                worker.read(walk, image, _limits(image), values={})


def vet_results(*paths: Path) -> None:
    """Like :func:`vet`, for results files alone."""
    with _READER.worker() as worker:
        _look_through(worker, paths)


def _look_through(worker: FileWorker, paths: Iterable[Path]) -> None:
    for path in paths:
        if is_file(path):
            worker.read(walk_hdf5, path, _limits(path))


class Reader:
    """One worker for a process. It is kept for a while: files come in turn, and its start costs a third of a second."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._lock = threading.Lock()
        self._worker: FileWorker | None = None
        self._owner, self._users = 0, 0
        self._idle_timer: threading.Timer | None = None

    @contextmanager
    def worker(self) -> Iterator[FileWorker]:
        """The worker; its process ends some time after the last use. A forked process gets its own."""
        with self._lock:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            if self._worker is None or self._owner != os.getpid():
                self._worker, self._owner, self._users = FileWorker(Limits(memory_bytes=_memory())), os.getpid(), 0
                atexit.register(self._worker.close)
            self._users += 1
            worker = self._worker
        try:
            yield worker
        finally:
            with self._lock:
                self._users -= 1
                self._idle_timer = threading.Timer(self._kept_s, self._close_idle)
                self._idle_timer.daemon = True
                with suppress(RuntimeError):  # no thread can be started: the worker goes with this process
                    self._idle_timer.start()

    def _close_idle(self) -> None:
        with self._lock:
            if self._worker is not None and not self._users:
                self._worker.close()


_READER = Reader()


def is_file(path: Path) -> bool:
    """Whether there is a file to check; a name that the system cannot look up is left to the opening function."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _limits(path: Path) -> Limits:
    path = Path(path)
    least = CPU_S if path.suffix.lower() in HDF5_NAMES else FOREIGN_CPU_S
    return Limits(cpu_s=least + path.stat().st_size / BYTES_PER_CPU_S, wall_s=WALL_S)


def _memory() -> int:
    """Half of this machine's memory: readers of foreign files may need much of it."""
    return max(Limits().memory_bytes, int(psutil.virtual_memory().total) // 2)
