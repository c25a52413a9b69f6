"""A sender's description of a scan before its first frame, and the frames themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ptylive.schema.basis import Basis
from ptylive.schema.detector import REFERENCES, Detector, useless_pixels
from ptylive.schema.model import Array, BoolArray, ByteArray, DoubleArray, IndexArray
from ptylive.schema.optics import Optics
from ptylive.schema.pattern.readout import AS_RECORDED, Readout
from ptylive.schema.scan import Scan

MOST_SENT_BYTES = 2**14
"""Limit on all texts of a sender together; the excess is cut off."""
MOST_SENT_NAME = 64


def sent_texts(texts: Mapping[Any, Any]) -> dict[str, str]:
    """Clean texts for storage: no control characters except line breaks and tabs, within MOST_SENT_BYTES."""
    accepted: dict[str, str] = {}
    bytes_left = MOST_SENT_BYTES
    for name, text in texts.items():
        if not (isinstance(name, str) and isinstance(text, str) and bytes_left > 0):
            continue
        key = "".join(c if c.isprintable() and c not in "/\ufffd" else "_" for c in name[:MOST_SENT_NAME]) or "_"
        accepted[key] = plain_text(text[:bytes_left]).encode("utf-8", "replace")[:bytes_left].decode("utf-8", "ignore")
        bytes_left -= len(key.encode()) + len(accepted[key].encode())
    return accepted


def plain_text(text: str) -> str:
    """Mark control characters in a text, except line breaks and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text.replace("\r\n", "\n"))


@dataclass(frozen=True)
class ScanHeader:
    """A scan about to be acquired: everything the sender (or the file) provides, typed.

    ``arrays`` holds the non-scalar values: ``bad_pixel_mask`` bool (Qy, Qx), ``vacuum_pattern``, ``dark_reference`` and
    ``gain_reference`` (Qy, Qx), ``positions_A`` (N, 2), ``masks`` (N, Qy, Qx); all in recorded coordinates.
    """

    uid: str
    series: str
    frames: int
    scan: Scan
    optics: Optics = field(default_factory=Optics)
    detector: Detector = field(default_factory=Detector)
    basis: Basis = field(default_factory=Basis)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    sent: Mapping[str, str] = field(default_factory=dict, compare=False)
    """What the sender sent in its own words, by the names of its messages: kept only for people."""

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Pixels (rows, columns) of a recorded pattern."""
        if self.detector.shape is None:
            raise ValueError("detector.shape is not known")
        return self.detector.shape

    @property
    def point_frames(self) -> int:
        """Number of frames up to the last scan point; a detector may announce and send more, which belong to none."""
        return self.frames if self.scan.shape is None else min(self.scan.frames, self.frames)

    def missing(self, received: BoolArray) -> int:
        """Number of frames up to the last scan point that have not arrived; ``received``: bool (frames,)."""
        points = self.point_frames
        return points - int(np.count_nonzero(received[:points]))

    @property
    def frame_dtype(self) -> np.dtype[Any]:
        """Type of a recorded pixel."""
        return np.dtype(self.detector.dtype)

    @cached_property
    def readout(self) -> Readout:
        """Conversion of recorded frames to counts; numbers of a compressed scan stay unchanged."""
        return Readout.of(self.detector, self.arrays) if self.basis.is_raw else AS_RECORDED

    @cached_property
    def of_counts(self) -> ScanHeader:
        """The scan of frames already converted to counts, to which no further reference applies."""
        if not self.readout.corrects:
            return self
        arrays = {name: array for name, array in self.arrays.items() if name not in REFERENCES}
        useless = useless_pixels(self.arrays, self.detector.saturation_value)
        if useless is not None:
            arrays["bad_pixel_mask"] = useless | (np.asarray(arrays.get("bad_pixel_mask", False)) != 0)
        if "vacuum_pattern" in arrays:
            arrays["vacuum_pattern"] = self.readout.counts(np.asarray(arrays["vacuum_pattern"]))[0]
        detector = self.detector.model_copy(update={"dtype": "<f4", "saturation_value": None})
        return replace(self, detector=detector, arrays=arrays)

    def renamed(self, uid: str, series: str) -> ScanHeader:
        """Return the scan under another identity."""
        return replace(self, uid=uid, series=series)


@dataclass(frozen=True)
class CodedFrames:
    """Frames as received, back to back, checked, and the compiled function that decodes one of them.

    data (bytes,) uint8; ends (n,) int64: where each ends; decode: address of a C function int64 (data, size, itemsize,
    target, target_bytes, work, parameters), every argument 64 bits wide, 0 when it has decoded; work_bytes it needs;
    parameters (m,) int64: further ones, common to all frames; in_bytes: address of a similar function that makes one
    byte of each pixel, less than 0 if a pixel exceeds it; 0 if there is no such function.
    """

    data: ByteArray
    ends: IndexArray
    decode: int
    work_bytes: int
    parameters: IndexArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    in_bytes: int = 0


@dataclass(frozen=True)
class EventFrames:
    """Raw frames as the pixels that counted something.

    ends (n,) int64: where the events of each frame end; pixels (events,) uint32: flat, rising within a frame; counts
    (events,) in the type of a recorded pixel; shape: (Qy, Qx).
    """

    ends: IndexArray
    pixels: Array
    counts: Array
    shape: tuple[int, int]

    def dense(self, first: int = 0, stop: int | None = None) -> Array:
        """Frames ``first`` to ``stop`` (exclusive) as patterns (n, Qy, Qx), in native byte order."""
        begin, ends = int(self.ends[first - 1]) if first else 0, self.ends[first:stop]
        events = slice(begin, int(ends[-1]) if len(ends) else begin)
        size = self.shape[0] * self.shape[1]
        out = np.zeros((len(ends), size), dtype=self.counts.dtype.newbyteorder("="))
        start = np.repeat(np.arange(len(ends)) * size, np.diff(ends, prepend=begin))
        out.ravel()[start + self.pixels[events]] = self.counts[events]
        return out.reshape(len(ends), *self.shape)

    def kept(self, keep: BoolArray) -> EventFrames:
        """Return a selection of the frames; ``keep`` bool (n,)."""
        lengths = np.diff(self.ends, prepend=0)
        events = np.repeat(keep, lengths)
        return EventFrames(np.cumsum(lengths[keep]), self.pixels[events], self.counts[events], self.shape)

    def at_most(self, most: float | None) -> EventFrames:
        """Return the frames with counts limited to ``most``; None: unchanged."""
        if most is None:
            return self
        return replace(self, counts=np.minimum(self.counts, self.counts.dtype.type(most)))

    def weighted(self, weights: Array) -> DoubleArray:
        """Sums (n,) over each frame of its counts times the weights of their pixels (Qy * Qx,)."""
        number = np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))
        values = weights[self.pixels] * self.counts
        return np.asarray(np.bincount(number, weights=values, minlength=len(self.ends)), dtype=float)

    def total(self) -> DoubleArray:
        """The sum of all frames, (Qy, Qx)."""
        size = self.shape[0] * self.shape[1]
        return np.asarray(np.bincount(self.pixels, weights=self.counts, minlength=size), dtype=float).reshape(
            self.shape
        )

    @property
    def nbytes(self) -> int:
        """Bytes of memory occupied."""
        return self.ends.nbytes + self.pixels.nbytes + self.counts.nbytes


@dataclass(frozen=True)
class FrameBatch:
    """Frames of one scan with their acquisition numbers (flyback included), in any order.

    ``frames`` is (n, Qy, Qx) for raw data, (n, coefficients + extras) otherwise; the receiver may reuse the memory
    after the call that hands the batch over returns. If ``coded`` or ``events`` is given, ``frames`` decodes all of
    them anew on each access.
    """

    uid: str
    index: IndexArray
    frames: Array
    coded: CodedFrames | None = None
    events: EventFrames | None = None

    def frame(self, position: int) -> Array:
        """Return the frame at a position in the batch."""
        return np.asarray(self.frames[position])

    @property
    def nbytes(self) -> int:
        """Bytes of memory occupied by the frames in their present form."""
        return self.frames.nbytes


class EventBatch(FrameBatch):
    """A batch of frames that arrived as events; ``frames`` makes patterns of them anew on each access."""

    def __init__(self, uid: str, index: IndexArray, events: EventFrames) -> None:
        vars(self).update(uid=uid, index=index, events=events)

    @property
    def frames(self) -> Array:
        """All patterns (n, Qy, Qx)."""
        return self._events.dense()

    def frame(self, position: int) -> Array:
        """Return one pattern."""
        return np.asarray(self._events.dense(position, position + 1)[0])

    @property
    def nbytes(self) -> int:
        """Bytes of memory occupied by the events."""
        return self._events.nbytes

    @property
    def _events(self) -> EventFrames:
        assert self.events is not None  # noqa: S101  (always given here)
        return self.events
