"""Recordings that may be opened here: this program has just written them, or a file worker has opened them unharmed."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from pathlib import Path

from ptylive.schema import InputFileError, PtyliveError
from ptylive.streamer.vetting.tasks import describe_recording
from ptylive.streamer.vetting.worker import FileWorker, stamp_of

_REMEMBERED = 1024
_stamps: OrderedDict[str, object] = OrderedDict()


def vouch(path: Path) -> None:
    """Note a recording that this program has written and read back."""
    with contextlib.suppress(InputFileError):
        _note(path, stamp_of(path))


def is_vouched(path: Path) -> bool:
    """Whether a recording can be opened; one that nobody knows is tried in a process with limits first."""
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
