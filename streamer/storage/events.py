"""``/events`` of a sparse scan: the pixels of all patterns that counted something, read as the patterns they are.

``pixels`` (events,) uint32 and ``counts`` (events,) in the type of the detector, pattern by pattern as they came;
``first`` and ``length``, both in the leading axes of the scan, say where the events of each pattern lie; ``shape`` is
an attribute. A pattern that is missing has none.
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
"""Events of a selection that lie this much farther apart than side by side are read pattern by pattern."""


@dataclass(frozen=True)
class EventSets:
    """The data sets of an open file as one (…, Qy, Qx)."""

    path: Path
    first: Any
    length: Any
    pixels: Any
    counts: Any
    pattern: tuple[int, int]

    @classmethod
    def find(cls, path: Path, file: Any) -> EventSets | None:
        """Those of an open file, or None. Raises InputFileError when they contradict each other."""
        found = [dataset(file, f"{GROUP}/{name}") for name in NAMES]
        if all(one is None for one in found):
            return None
        if any(one is None for one in found):
            raise InputFileError(f"{path}: /{GROUP} lacks one of {', '.join(NAMES)}", _HINT)
        first, length, pixels, counts = found
        kinds = "".join(one.dtype.kind for one in (first, length, pixels))
        if first.shape != length.shape or first.ndim not in (1, 2) or 0 in first.shape or kinds not in ("iuu", "uuu"):
            raise InputFileError(
                f"{path}: /{GROUP}/first and length must be whole numbers (Ry, Rx) or (frames,)", _HINT
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
        """Patterns by numbers and slices of the leading axes. Raises OSError for what cannot be read."""
        shape = np.broadcast_to(False, self.first.shape)[selection].shape
        return self.select(selection).dense().reshape(*shape, *self.pattern)

    def select(self, selection: Any) -> EventFrames:
        """The same as events, the leading axes one behind the other. Raises OSError."""
        return self.read(np.asarray(self.first[selection]).ravel(), np.asarray(self.length[selection]).ravel())

    def read(self, first: IndexArray, length: Array) -> EventFrames:
        """Patterns (n,) whose events lie there. Raises OSError where they lie nowhere, or are none of the detector."""
        first, length = first.astype(np.int64), length.astype(np.int64)
        size, ends = self.pattern[0] * self.pattern[1], np.cumsum(length)
        stop = first + length
        if (first < 0).any() or (stop > self.pixels.shape[0]).any() or (stop < first).any() or (length > size).any():
            raise OSError("events that are nowhere in the file")
        total = int(ends[-1]) if len(ends) else 0
        filled = length > 0
        low, high = (int(first[filled].min()), int(stop[filled].max())) if total else (0, 0)
        if high - low <= _SPREAD * total + _CHUNK:
            places = np.arange(total) + np.repeat(first - (ends - length) - low, length)
            pixels, counts = self.pixels[low:high][places], self.counts[low:high][places]
        else:
            runs = [slice(a, b) for a, b in zip(first[filled].tolist(), stop[filled].tolist(), strict=True)]
            pixels, counts = (np.concatenate([data[run] for run in runs]) for data in (self.pixels, self.counts))
        if total and int(pixels.max()) >= size:
            raise OSError("events beyond the detector")
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
        """Patterns under their acquisition numbers (n,)."""
        begins, stop = self._events, self._events + len(frames.pixels)
        for data, values in ((self._pixels, frames.pixels), (self._counts, frames.counts)):
            data.resize((stop,))
            data[begins:stop] = values
        length = np.diff(frames.ends, prepend=0)
        self._first[numbers] = begins + frames.ends - length
        self._length[numbers] = length
        self._events = stop

    def finish(self) -> None:
        """Say where the events of each pattern lie."""
        for name, values in (("first", self._first), ("length", self._length)):
            shaped = values.reshape(self._leading)
            chunks = tuple(min(n, _CHUNK if len(self._leading) == 1 else 256) for n in self._leading)
            self._group.create_dataset(
                name, data=shaped, chunks=chunks, fletcher32=True, **hdf5plugin.Bitshuffle(cname="lz4")
            )


def events_in(frames: Array) -> EventFrames:
    """Patterns (n, Qy, Qx) as events."""
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
