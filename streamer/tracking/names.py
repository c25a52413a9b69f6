"""Which scan a uid means: senders reuse uids, and a script may send every scan as "test".

A uid that is used again for another scan gets a new name here, ``test-again-2``: its recording, its events and the
files made from it carry that name, while its sender continues to use ``test``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np

from ptylive.schema import ScanHeader
from ptylive.streamer.wire.limits import MAX_UID_LENGTH

_REMEMBERED = 4096
_AGAIN = "-again-"
_RELATIVE = 1e-9


class ScanNames:
    """The name of the newest scan for every uid that was used more than once. Reading is safe from any thread."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()

    def of(self, uid: str) -> str:
        """Return the name of the scan that a sender means by a uid."""
        return self._names.get(uid, uid)

    def again(self, uid: str, is_used: Callable[[str], bool]) -> str:
        """Make a new name for one more scan of the same uid, which means this scan from now on."""
        name = self.free(uid, is_used)
        self.note(uid, name)
        return name

    def free(self, uid: str, is_used: Callable[[str], bool]) -> str:
        """Return a name that no scan of a uid has; ``is_used`` says which names are in use."""
        number = _number(self.of(uid)) + 1
        while is_used(name := _numbered(uid, number)):
            number += 1
        return name

    def note(self, uid: str, name: str) -> None:
        """Let ``uid`` mean the scan ``name`` from now on."""
        self._names[uid] = name
        self._names.move_to_end(uid)
        while len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)

    def used(self, uid: str) -> Iterator[str]:
        """Yield the names that scans of a uid have, oldest first, without end."""
        yield uid
        for number in count(2):
            yield _numbered(uid, number)

    def newest(self, uid: str, most: int) -> list[str]:
        """Return the names of the newest scans of a uid, newest first."""
        number = _position(uid, self.of(uid))
        return [_numbered(uid, k) if k > 1 else uid for k in range(number, max(0, number - most), -1)]

    def reach(self, uid: str, name: str) -> None:
        """Note that a scan of a uid has this name: later ones get later names."""
        if self.is_new(uid, name) and name != uid:
            self.note(uid, name)

    def is_new(self, uid: str, name: str) -> bool:
        """Whether no scan of a uid is known under this name, or a later one."""
        return _position(uid, name) > _position(uid, self.of(uid)) or name == uid == self.of(uid)

    def learn(self, name: str) -> str:
        """Note a scan of an earlier run as one more of the uid its name was made from; return that uid."""
        uid, mark, number = name.rpartition(_AGAIN)
        if not (uid and mark and number.isdecimal()):
            return name
        if _number(self.of(uid)) < int(number):
            self.note(uid, name)
        return uid


def _numbered(uid: str, number: int) -> str:
    ending = f"{_AGAIN}{number}"
    return uid[: MAX_UID_LENGTH - len(ending)] + ending


def _position(uid: str, name: str) -> int:
    """Like :func:`_number`, if the uid itself may end like a further name."""
    return 1 if name == uid else _number(name)


def _number(name: str) -> int:
    """Ordinal of the scan of its uid that a name stands for."""
    _, mark, number = name.rpartition(_AGAIN)
    return int(number) if mark and number.isdecimal() else 1


def same_header(first: ScanHeader, second: ScanHeader) -> bool:
    """Whether two arm messages announce the same scan, whatever its uid."""
    return _plain(first) == _plain(second) and _same_arrays(first, second)


def compatible_headers(stored: ScanHeader, sent: ScanHeader) -> bool:
    """Whether nothing in an arm message contradicts a recording, which may hold more or fewer values of its scan."""
    known, announced = _plain(stored), _plain(sent)
    if not sent.series:
        del announced["series"]
    if not stored.basis.is_raw:
        del announced["detector"]["dtype"]  # type of the patterns before they were compressed
        if stored.detector.distortion is not None:
            del announced["detector"]["beam_center_px"]  # coefficients are of distortion-corrected patterns
    return all(_compatible(known.get(name), value) for name, value in announced.items())


def _plain(header: ScanHeader) -> dict[str, Any]:
    sections = {name: getattr(header, name).model_dump() for name in ("scan", "optics", "detector", "basis")}
    return {"series": header.series, "frames": header.frames, **sections}


def _same_arrays(first: ScanHeader, second: ScanHeader) -> bool:
    if first.arrays.keys() != second.arrays.keys():
        return False
    return all(np.array_equal(array, second.arrays[name]) for name, array in first.arrays.items())


def _compatible(known: Any, announced: Any) -> bool:
    if known is None or announced is None:
        return True
    if isinstance(announced, dict) and isinstance(known, dict):
        return all(_compatible(known.get(name), value) for name, value in announced.items())
    if isinstance(announced, float) and isinstance(known, int | float):
        return abs(announced - known) <= _RELATIVE * max(abs(announced), abs(known))
    if isinstance(announced, list | tuple) and isinstance(known, list | tuple):
        return len(announced) == len(known) and all(_compatible(a, b) for a, b in zip(known, announced, strict=True))
    return bool(known == announced)
