"""Marks of frames: 32 bits that show whether a frame number that is received again has the same data.

A mark is computed from at most 32 words of eight bytes, spread evenly over the frame as it arrived, and from its
length. Its cost is negligible compared with receiving the frame; two different noisy patterns share a mark by chance
once in 10⁹. The two lowest bits encode the coding of the frame; 0 means that nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptylive.schema import EventFrames
from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.wire import FrameLayout, FramesMessage, events_of
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.events import sum_over_frames

WORDS = 32
KIND: dict[Codec, int] = {"none": 1, "bslz4": 2, "lz4": 3, "events": 3}
"""lz4 and events may share a value because no sender uses both."""
LENGTH_FACTOR = 0x9E3779B97F4A7C15
FACTORS = np.array([pow(LENGTH_FACTOR, 2 * k + 3, 2**64) for k in range(WORDS)], dtype=np.uint64)
"""An odd factor for each word: the mark is the highest bits of the sum of the products, modulo 2⁶⁴."""
COEFFICIENT_TOLERANCE = 1e-4
"""Coefficients are computed here in single precision; their last bits depend on how many frames arrived at once."""


def marks_of(message: FramesMessage, layout: FrameLayout, *, exact: bool = True) -> Array:
    """Marks (count,) uint32 of the frames of a message whose sizes have been checked; see :func:`marks_of_frames`."""
    if message.codec == "events":
        return marks_of_events(events_of(message, layout)[0])
    if message.codec == "none":
        raw = np.frombuffer(message.parts[0], np.uint8).reshape(message.count, layout.nbytes)
        return _marks(raw, KIND["none"]) if exact else _sums(raw.copy().view(layout.dtype))
    return marks_of_parts(message.parts, message.codec)


def marks_of_frames(frames: Array, layout: FrameLayout, *, exact: bool = True) -> Array:
    """Marks of decoded frames (n, ...), as if they had arrived uncompressed.

    ``exact`` is false for coefficients: a mark is then a weighted sum of them, to be compared with a tolerance.
    """
    rows = np.ascontiguousarray(frames.astype(layout.dtype, copy=False)).reshape(len(frames), -1)
    return _marks(rows.view(np.uint8), KIND["none"]) if exact else _sums(rows)


def marks_of_parts(parts: Sequence[Buffer], codec: Codec) -> Array:
    """Marks of compressed frames (n,), each with its own length."""
    joined = np.frombuffer(b"".join(parts) + bytes(8), np.uint8)
    sizes = np.array([len(memoryview(part).cast("B")) for part in parts], dtype=np.int64)
    if sizes.min(initial=8) < 8:
        marks = [_marks(np.frombuffer(part, np.uint8)[None], KIND[codec])[0] for part in parts]
        return np.array(marks, dtype=np.uint32)
    starts = np.cumsum(sizes) - sizes
    windows = np.ndarray(len(joined) - 7, "<u8", joined, strides=(1,))  # a word starting at each byte
    words = windows[starts[:, None] + _places(sizes[:, None])]
    return _summed(words, sizes.astype(np.uint64), KIND[codec])


def marked_bytes(nbytes: int) -> IndexArray:
    """Positions (WORDS * 8,) of the bytes that make the mark of a frame of 8 bytes or more (:func:`marks_of_bytes`)."""
    return (_places(nbytes)[:, None] + np.arange(8)).ravel()


def marks_of_bytes(found: Array, nbytes: int) -> Array:
    """Marks (n,) uint32 of uncompressed frames of ``nbytes`` bytes from their :func:`marked_bytes` (n, WORDS * 8)."""
    return _summed(np.ascontiguousarray(found).view("<u8"), np.array([nbytes], np.uint64), KIND["none"])


def marks_of_events(frames: EventFrames) -> Array:
    """Marks of frames (n,) that arrived as events, computed from all their events."""
    counts = np.ascontiguousarray(frames.counts)
    words = counts.view(f"<u{counts.dtype.itemsize}").astype(np.uint64) + (frames.pixels.astype(np.uint64) << 32)
    words *= FACTORS[0]
    words ^= words >> np.uint64(29)
    words *= FACTORS[1]
    lengths = np.diff(frames.ends, prepend=0).astype(np.uint64)
    return _finished(sum_over_frames(words, frames.ends), lengths, KIND["events"])


def agree(first: Array, second: Array, *, exact: bool = True) -> Array:
    """Bool (n,): which pairs of marks belong to equal frames."""
    if exact:
        return np.asarray(first == second)
    a, b = first.view(np.float32).astype(float), second.view(np.float32).astype(float)
    return np.asarray(np.abs(a - b) <= COEFFICIENT_TOLERANCE * np.maximum(np.abs(a), np.abs(b)))


def _marks(rows: Array, kind: int) -> Array:
    """Marks of rows of bytes (n, bytes) uint8."""
    nbytes = rows.shape[1]
    if nbytes < 8:
        rows = np.pad(rows, ((0, 0), (0, 8 - nbytes)))
    windows = np.ndarray((len(rows), rows.shape[1] - 7), "<u8", rows, strides=(rows.strides[0], 1))  # one at each byte
    return _summed(windows[:, _places(rows.shape[1])], np.array([nbytes], np.uint64), kind)


def _summed(words: Array, nbytes: Array, kind: int) -> Array:
    """Marks of frames from their words (n, WORDS) and their lengths (n or 1,) uint64."""
    return _finished(words.astype(np.uint64, copy=False) @ FACTORS, nbytes, kind)


def _finished(total: Array, length: Array, kind: int) -> Array:
    """Marks from sums modulo 2⁶⁴ and lengths (n or 1,) uint64."""
    total = total + length * np.uint64(LENGTH_FACTOR)
    return np.asarray(((total >> np.uint64(34)).astype(np.uint32) << np.uint32(2)) | np.uint32(kind))


def _places(nbytes: Any) -> Array:
    """Where the words begin in a frame of at least 8 bytes, (WORDS,); for frames of (n, 1) bytes, (n, WORDS)."""
    return np.asarray((nbytes - 8) * np.arange(WORDS, dtype=np.int64) // (WORDS - 1))


def _sums(rows: Array) -> Array:
    """Weighted sums of the magnitudes of vectors (n, numbers), as bits of a float32; never all bits zero."""
    weights = np.random.default_rng(21).random(rows.shape[1]) + 0.5
    sums = np.abs(rows.astype(float)) @ weights + np.finfo(np.float32).tiny
    return np.asarray(sums.astype(np.float32).view(np.uint32))
