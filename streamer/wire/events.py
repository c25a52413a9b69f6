"""Sparse patterns, coded ``events``: only those pixels of each pattern that counted something.

Three parts hold all patterns of a message, as little-endian numbers: the number of pixels in each pattern (count,)
uint32; the pixels (events,) uint32, flat, rising within a pattern; their counts (events,) in the detector's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ptylive.schema import EventFrames, WireError
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import MAX_BATCH, MAX_FRAME_BYTES

PARTS = 3
PIXEL_TYPE = np.dtype("<u4")
MAX_EVENT_BATCH_BYTES = MAX_FRAME_BYTES
"""Limit on the decoded size of all patterns of a message, because a reader may decode the whole message at once."""


def most_together(frame_bytes: int) -> int:
    """Number of patterns of ``frame_bytes`` decoded bytes that one message may hold."""
    return max(1, min(MAX_BATCH, MAX_EVENT_BATCH_BYTES // frame_bytes))


def event_parts(lengths: Array, pixels: Array, counts: Array) -> tuple[Buffer, ...]:
    """Return the parts of patterns with ``lengths`` (n,) events each; counts in the detector's type."""
    arrays = (lengths.astype(PIXEL_TYPE, copy=False), pixels.astype(PIXEL_TYPE, copy=False), counts)
    return tuple(np.ascontiguousarray(part).data.cast("B") for part in arrays)


def check_event_sizes(parts: Sequence[Buffer], count: int, frame_bytes: int, itemsize: int) -> None:
    """Refuse parts that cannot hold ``count`` patterns. Raises WireError truncated or oversized."""
    if count > most_together(frame_bytes):
        raise WireError(f"{count} patterns of {frame_bytes} bytes in a message of events", "oversized")
    lengths, pixels, counts = map(len, parts)
    if lengths != count * PIXEL_TYPE.itemsize:
        raise WireError(f"{lengths} bytes of event counts for {count} patterns", "truncated")
    events = int(np.frombuffer(parts[0], PIXEL_TYPE).sum(dtype=np.int64))
    if (pixels, counts) != (events * PIXEL_TYPE.itemsize, events * itemsize):
        text = f"{pixels} bytes of pixels and {counts} of counts for {events} events"
        raise WireError(text, "truncated" if pixels < events * PIXEL_TYPE.itemsize else "oversized")


def event_frames(
    parts: Sequence[Buffer], shape: tuple[int, int], dtype: np.dtype[Any]
) -> tuple[EventFrames, BoolArray, list[WireError]]:
    """Return patterns from parts of checked sizes, which (count,) of them are good, and what is wrong with others.

    A pattern that is not good is left without events.
    """
    lengths = np.frombuffer(parts[0], PIXEL_TYPE).astype(np.int64)
    pixels, counts = np.frombuffer(parts[1], PIXEL_TYPE), np.frombuffer(parts[2], dtype)
    found = EventFrames(np.cumsum(lengths), pixels, counts, shape)
    good = _are_good(found)
    problems = [
        WireError(f"pattern {k} of a message: its pixels are not in order, or beyond the detector", "corrupt")
        for k in np.flatnonzero(~good).tolist()
    ]
    if problems:
        event_mask = np.repeat(good, lengths)
        found = EventFrames(np.cumsum(lengths * good), pixels[event_mask], counts[event_mask], shape)
    return found, good, problems


def run_of_events(parts: Sequence[Buffer], start: int, stop: int) -> tuple[Buffer, ...]:
    """Return the parts of patterns ``start`` to ``stop`` (exclusive) without copying them."""
    lengths = np.frombuffer(parts[0], PIXEL_TYPE)
    first = int(lengths[:start].sum(dtype=np.int64))
    last = first + int(lengths[start:stop].sum(dtype=np.int64))
    events = len(parts[1]) // PIXEL_TYPE.itemsize
    sizes = (PIXEL_TYPE.itemsize, len(parts[2]) // events if events else 0)
    cut = [memoryview(part).cast("B")[first * size : last * size] for part, size in zip(parts[1:], sizes, strict=True)]
    return (memoryview(parts[0]).cast("B")[start * PIXEL_TYPE.itemsize : stop * PIXEL_TYPE.itemsize], *cut)


def _are_good(frames: EventFrames) -> BoolArray:
    """Which patterns list pixels of the detector in rising order."""
    good = np.ones(len(frames.ends), dtype=bool)
    pixels = frames.pixels
    if not len(pixels):
        return good
    wrong = pixels >= np.uint32(frames.shape[0] * frames.shape[1])
    wrong |= falling(pixels, frames.ends)
    if wrong.any():
        good[np.searchsorted(frames.ends, np.flatnonzero(wrong), side="right")] = False
    return good


def falling(pixels: Array, ends: IndexArray) -> BoolArray:
    """Which events (events,) do not lie beyond the one before them in their frame; ``ends`` (n,): of the frames."""
    falls = np.concatenate([[False], pixels[1:] <= pixels[:-1]])
    starts = np.concatenate([[0], ends[:-1]])
    falls[starts[starts < len(pixels)]] = False
    return np.asarray(falls)


def sum_over_frames(values: Array, ends: IndexArray) -> Array:
    """Sums (n, ...) over the events of each frame of values (events, ...); integers may wrap around."""
    running = np.zeros((len(values) + 1, *values.shape[1:]), dtype=values.dtype)
    np.cumsum(values, axis=0, dtype=values.dtype, out=running[1:])
    return np.asarray(np.diff(running[ends], axis=0, prepend=running[:1]))
