"""``/events`` of a sparse scan: the pixels of all patterns that counted something, read as whole patterns.

``pixels`` (events,) uint32 and ``counts`` (events,) in the detector's type, pattern by pattern in order of arrival;
``first`` and ``length``, both with the leading axes of the scan, give the location of each pattern's events; ``shape``
is an attribute. A missing pattern has no events.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hdf5plugin
import numpy as np

from ptylive.schema import EventFrames, InputFileError
from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.storage.hdf5 import dataset
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE

GROUP = "events"
NAMES = ("first", "length", "pixels", "counts")
_CHUNK = 2**16
_HINT = "restore the file from a copy"
_SPREAD = 4
"""If the events of a selection span this many times their number, they are read pattern by pattern."""


@dataclass(frozen=True)
class EventSets:
    """The event data sets of an open file, presented as one data set (…, Qy, Qx)."""

    path: Path
    first: Any
    length: Any
    pixels: Any
    counts: Any
    pattern: tuple[int, int]

    @classmethod
    def find(cls, path: Path, file: Any) -> EventSets | None:
        """Find the event data sets of an open file, or None. Raises InputFileError when they contradict each other."""
        found = [dataset(file, f"{GROUP}/{name}") for name in NAMES]
        if all(data_set is None for data_set in found):
            return None
        if any(data_set is None for data_set in found):
            raise InputFileError(f"{path}: /{GROUP} lacks one of {', '.join(NAMES)}", _HINT)
        first, length, pixels, counts = found
        for name, data_set in zip(NAMES, (first, length, pixels), strict=False):
            if data_set.dtype.kind not in "iu":
                raise InputFileError(f"{path}: /{GROUP}/{name} is {data_set.dtype}, not whole numbers", _HINT)
        if first.shape != length.shape or first.ndim not in (1, 2) or 0 in first.shape:
            raise InputFileError(
                f"{path}: /{GROUP}/first is {first.shape}, length {length.shape}: both must be (Ry, Rx) or (frames,)",
                _HINT,
            )
        if pixels.ndim != 1 or pixels.shape != counts.shape:
            raise InputFileError(f"{path}: /{GROUP}/pixels is {pixels.shape}, counts {counts.shape}", _HINT)
        return cls(path, first, length, pixels, counts, _pattern(path, file[GROUP].attrs.get("shape")))

    @property
    def shape(self) -> tuple[int, ...]:
        """(…, Qy, Qx)."""
        return (*self.first.shape, *self.pattern)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        dtype: np.dtype[Any] = self.counts.dtype
        return dtype

    def __getitem__(self, selection: Any) -> Array:
        """Return patterns by numbers and slices of the leading axes. Raises OSError for unreadable ones."""
        shape = np.broadcast_to(False, self.first.shape)[selection].shape
        return self.select(selection).dense().reshape(*shape, *self.pattern)

    def select(self, selection: Any) -> EventFrames:
        """Like ``__getitem__``, but as events, with the leading axes flattened. Raises OSError."""
        return self.read(np.asarray(self.first[selection]).ravel(), np.asarray(self.length[selection]).ravel())

    def read(self, first: IndexArray, length: Array) -> EventFrames:
        """Read patterns (n,) from these ranges of events. Raises OSError for ranges or pixels that do not exist."""
        first, length = first.astype(np.int64), length.astype(np.int64)
        size, ends = self.pattern[0] * self.pattern[1], np.cumsum(length)
        stop = first + length
        if (first < 0).any() or (stop > self.pixels.shape[0]).any() or (stop < first).any() or (length > size).any():
            raise OSError("events outside the stored data")
        total = int(ends[-1]) if len(ends) else 0
        filled = length > 0
        low, high = (int(first[filled].min()), int(stop[filled].max())) if total else (0, 0)
        if high - low <= _SPREAD * total + _CHUNK:
            places = np.arange(total) + np.repeat(first - (ends - length) - low, length)
            pixels, counts = self.pixels[low:high][places], self.counts[low:high][places]
        else:
            runs = [slice(a, b) for a, b in zip(first[filled].tolist(), stop[filled].tolist(), strict=True)]
            pixels, counts = (np.concatenate([data[run] for run in runs]) for data in (self.pixels, self.counts))
        if total and not 0 <= int(pixels.min()) <= int(pixels.max()) < size:
            raise OSError("events outside the detector")
        return EventFrames(ends, pixels.astype(np.uint32, copy=False), counts, self.pattern)


class EventWriter:
    """The data sets of a new file, filled pattern by pattern in any order."""

    def __init__(self, file: Any, leading: tuple[int, ...], pattern: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._group = file.create_group(GROUP)
        self._group.attrs["shape"] = pattern
        self._leading = leading
        self._pixels, self._counts = (
            self._group.create_dataset(
                name,
                (0,),
                kind,
                maxshape=(None,),
                chunks=(_CHUNK,),
                fletcher32=True,
                **hdf5plugin.Bitshuffle(cname="lz4"),
            )
            for name, kind in (("pixels", np.dtype("<u4")), ("counts", dtype))
        )
        frames = int(np.prod(leading))
        self._first = np.zeros(frames, dtype=np.int64)
        self._length = np.zeros(frames, dtype=np.uint32)
        self._events = 0

    def add(self, numbers: IndexArray, frames: EventFrames) -> None:
        """Add patterns under their acquisition numbers (n,)."""
        begins, stop = self._events, self._events + len(frames.pixels)
        for data, values in ((self._pixels, frames.pixels), (self._counts, frames.counts)):
            data.resize((stop,))
            data[begins:stop] = values
        length = np.diff(frames.ends, prepend=0)
        self._first[numbers] = begins + frames.ends - length
        self._length[numbers] = length
        self._events = stop

    def finish(self) -> None:
        """Write the location of each pattern's events."""
        for name, values in (("first", self._first), ("length", self._length)):
            shaped = values.reshape(self._leading)
            chunks = tuple(min(n, _CHUNK if len(self._leading) == 1 else 256) for n in self._leading)
            self._group.create_dataset(
                name, data=shaped, chunks=chunks, fletcher32=True, **hdf5plugin.Bitshuffle(cname="lz4")
            )


def events_in(frames: Array) -> EventFrames:
    """Return patterns (n, Qy, Qx) as events."""
    flat = frames.reshape(len(frames), -1)
    number, pixels = np.nonzero(flat)
    ends = np.cumsum(np.bincount(number, minlength=len(flat)))
    shape = int(frames.shape[1]), int(frames.shape[2])
    return EventFrames(ends, pixels.astype(np.uint32), flat[number, pixels], shape)


def _pattern(path: Path, shape: Any) -> tuple[int, int]:
    sides = np.atleast_1d(shape).tolist() if isinstance(shape, np.ndarray) else []
    if len(sides) != 2 or not all(isinstance(side, int) and 0 < side <= MAX_DETECTOR_SIDE for side in sides):
        raise InputFileError(f"{path}: the attribute shape of /{GROUP} must be two numbers of pixels", _HINT)
    return sides[0], sides[1]
