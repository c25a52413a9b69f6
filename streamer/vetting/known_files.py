"""Files that may be opened here: this program has just written them, or a file worker has survived reading them."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from ptylive.schema import InputFileError, PtyliveError
from ptylive.streamer.vetting.tasks import describe_recording, walk, walk_hdf5
from ptylive.streamer.vetting.worker import FileWorker, Limits, stamp_of

_REMEMBERED = 1024
_CPU_S, _BYTES_PER_CPU_S, _WALL_S = 3.0, 2e9, 20.0
"""Limits on checking a file; larger ones have longer lists of chunks. A hanging disk delays nobody for longer."""
_stamps: OrderedDict[str, object] = OrderedDict()


def note_written(path: Path) -> None:
    """Note a file that this program has written."""
    with contextlib.suppress(InputFileError):
        _note(path, stamp_of(path))


def is_known(path: Path) -> bool:
    """Whether a file is unchanged since this program wrote it, or since it was checked; it is not opened."""
    try:
        return _stamps.get(str(path.absolute())) == stamp_of(path)
    except InputFileError:
        return False


def known_as(path: Path) -> tuple[int, ...]:
    """State in which a file is known, to pass to another process of this program (:func:`trust`); otherwise ()."""
    return stamp_of(path) if is_known(path) else ()


def trust(path: Path, state: tuple[int, ...]) -> None:
    """Note a file in the state in which another process of this program knows it."""
    if state:
        _note(path, state)


class FileAdmission:
    """Admits HDF5 files that are known, or that ``files`` has checked; one check for each state of a file."""

    def __init__(self, files: FileWorker) -> None:
        self._files = files

    def admit(self, path: Path) -> None:
        """Raise InputFileError for a file that cannot be opened in this process: missing, damaged, out of reach."""
        self._look(walk_hdf5, path)

    def admit_scan(self, path: Path) -> None:
        """Like :meth:`admit`, for a recording, which is also opened as one."""
        self._look(walk, path)

    def wrote(self, path: Path) -> None:
        """Note a file that this process has just written."""
        note_written(path)

    def _look(self, task: Callable[..., None], path: Path) -> None:
        stamp = stamp_of(path)
        if _stamps.get(str(path.absolute())) != stamp:
            limits = Limits(cpu_s=_CPU_S + stamp[0] / _BYTES_PER_CPU_S, wall_s=_WALL_S)
            self._files.read(task, path, limits)
            _note(path, stamp)


def can_be_opened(path: Path) -> bool:
    """Whether a recording can be opened; an unknown one is first tried in a process with limits."""
    try:
        stamp = stamp_of(path)
        if _stamps.get(str(path.absolute())) != stamp:
            with FileWorker() as worker:
                worker.read(describe_recording, path)
            _note(path, stamp)
    except PtyliveError:
        return False
    return True


def _note(path: Path, stamp: object) -> None:
    _stamps[str(path.absolute())] = stamp
    while len(_stamps) > _REMEMBERED:
        _stamps.popitem(last=False)
