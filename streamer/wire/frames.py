"""Patterns in transit: the internal form into which every protocol is converted, and its conversion to arrays.

A :class:`FramesMessage` names the scan, the acquisition numbers, the encoding and the buffers; type and shape come from
the arm message (:class:`FrameLayout`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ptylive.schema import EventFrames, ScanHeader, WireError
from ptylive.schema.model import Array, BoolArray
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec, decode_pattern
from ptylive.streamer.wire.events import PARTS, check_event_sizes, event_frames, run_of_events

COEFFICIENT_DTYPE = np.dtype("<f4")
_RUN_PIECE = 2**20


@dataclass(frozen=True)
class FrameLayout:
    """Shape and type of one frame: (Qy, Qx) in the detector's type, or a vector of float32 coefficients + extras."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of one decoded frame."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, header: ScanHeader) -> FrameLayout:
        """Return the layout of the frames of a scan; ValueError when a raw scan has no detector shape."""
        if header.basis.is_raw:
            return cls(header.detector_shape, header.frame_dtype)
        return cls((header.basis.n_bright + header.basis.n_dark + len(header.basis.extra),), COEFFICIENT_DTYPE)


@dataclass(frozen=True)
class FramesMessage:
    """``count`` patterns of one scan, numbered from ``first`` in acquisition order (flyback and repeats included).

    codec ``none``: one part with all patterns back to back; ``events``: three parts (:mod:`.events`); otherwise one
    part per pattern. sender: the number by which the sender identifies itself, 0 where it gives none; source: the
    number used for it here, where known.
    """

    uid: str
    first: int
    count: int
    codec: Codec
    parts: tuple[Buffer, ...]
    seq: int = 0
    sender: int = 0
    source: int | None = field(default=None, compare=False)

    def run(self, start: int, stop: int) -> FramesMessage:
        """Return patterns ``start`` to ``stop`` (exclusive, counted in this message) as a message, without copying."""
        if self.codec == "none":
            whole = memoryview(self.parts[0]).cast("B")
            size = len(whole) // self.count
            parts: tuple[Buffer, ...] = (whole[start * size : stop * size],)
        elif self.codec == "events":
            parts = run_of_events(self.parts, start, stop)
        else:
            parts = self.parts[start:stop]
        return replace(self, first=self.first + start, count=stop - start, parts=parts)


def check_size(message: FramesMessage, layout: FrameLayout) -> None:
    """Refuse a message whose parts cannot hold its patterns. Raises WireError wrong_parts, truncated or oversized."""
    wanted_parts = {"none": 1, "events": PARTS}.get(message.codec, message.count)
    if len(message.parts) != wanted_parts:
        raise WireError(
            f"frames message {message.seq}: {len(message.parts)} parts for {message.count} patterns coded "
            f"{message.codec!r}, expected {wanted_parts}",
            "wrong_parts",
        )
    if message.codec == "events":
        if len(layout.shape) != 2:
            raise WireError(f"frames message {message.seq}: events of a scan of coefficients", "wrong_parts")
        check_event_sizes(message.parts, message.count, layout.nbytes, layout.dtype.itemsize)
    if message.codec == "none":
        size, wanted = len(message.parts[0]), message.count * layout.nbytes
        if size != wanted:
            raise WireError(
                f"frames message {message.seq}: {size} bytes for {message.count} patterns of {layout.nbytes}",
                "truncated" if size < wanted else "oversized",
            )


def decode_frames(message: FramesMessage, layout: FrameLayout) -> tuple[Array, BoolArray, list[WireError]]:
    """Return patterns (count, *shape) in native byte order, which are good, and what is wrong with the others.

    Uncompressed patterns are a view of the message wherever memory alignment allows. Call :func:`check_size` first.
    """
    good = np.ones(message.count, dtype=bool)
    if message.codec == "none":
        raw = np.frombuffer(message.parts[0], dtype=layout.dtype).reshape(message.count, *layout.shape)
        return _native(raw), good, []
    if message.codec == "events":
        events, good, problems = events_of(message, layout)
        return events.dense(), good, problems
    frames = np.zeros((message.count, *layout.shape), dtype=layout.dtype)
    problems = list[WireError]()
    for k, part in enumerate(message.parts):
        try:
            pattern = decode_pattern(message.codec, part, layout.nbytes, layout.dtype.itemsize)
        except WireError as error:
            good[k] = False
            problems.append(error)
        else:
            frames[k] = np.frombuffer(pattern, dtype=layout.dtype).reshape(layout.shape)
    return _native(frames), good, problems


def events_of(message: FramesMessage, layout: FrameLayout) -> tuple[EventFrames, BoolArray, list[WireError]]:
    """Like :func:`decode_frames` for ``events``, kept as events; a bad pattern has none. :func:`check_size` first."""
    rows, columns = layout.shape
    return event_frames(message.parts, (rows, columns), layout.dtype)


def runs_of(mask: BoolArray) -> Iterator[tuple[int, int]]:
    """Half-open ranges [first, last) in which ``mask`` is true; piecewise, so that long masks need little memory."""
    inside, first = False, 0
    for offset in range(0, len(mask), _RUN_PIECE):
        piece = mask[offset : offset + _RUN_PIECE]
        for edge in np.flatnonzero(np.diff(piece, prepend=inside)).tolist():
            if inside:
                yield first, offset + edge
            inside, first = not inside, offset + edge
    if inside:
        yield first, len(mask)


def _native(frames: Array) -> Array:
    """Return the numbers aligned and in this machine's byte order, copied only if necessary."""
    if frames.dtype.isnative and frames.flags.aligned:
        return frames
    return frames.astype(frames.dtype.newbyteorder("="), copy=True)
