"""Accumulators reduce frames for one thread, or one device: work space, loops, and a partial sum of all frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.imaging.reduction_arrays import ArrayReduction
from ptylive.engine.backend.imaging.reduction_plan import SUMMED, PixelPlan, accumulator_of
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS, Numbers
from ptylive.schema import EventFrames, FrameBatch
from ptylive.schema.detector import usable_counts
from ptylive.schema.model import Array, ByteArray, DoubleArray, IndexArray, LabelArray

GROUP_BYTES = 384 * 2**10
"""Size of the group of decoded frames processed together, so that they stay in the second-level cache."""
FEW, FEW_BYTES = 4, 4 * 2**20
"""Least number of frames processed together if they fit in this many bytes: the sum of all frames is read and written
once per group."""
WIDE_BATCHES = 32
"""After a pixel value that does not fit in a byte: number of batches decoded unchanged before bytes are tried again."""


def _frames_at_a_time(frame_bytes: int) -> int:
    """Return the frames per group: a multiple of :data:`FEW` if that many fit, as that many are summed together."""
    fitting = GROUP_BYTES // frame_bytes
    return max(1, fitting - fitting % FEW, min(FEW, FEW_BYTES // frame_bytes))


@dataclass(frozen=True, eq=False)
class PixelLabels:
    """For each pixel (pixels,) its bin, -1 if none, and its region, -1 if it is bad."""

    bin_of: LabelArray
    region_of: LabelArray


class PixelAccumulator:
    """Accumulator of raw frames of one type: as they lie in memory, encoded, or as events."""

    def __init__(
        self,
        plan: PixelPlan,
        dtype: np.dtype[Any],
        saturation_value: float | None = None,
        labels: PixelLabels | None = None,
    ) -> None:
        """``dtype``: the type of a pixel, in native byte order; ``labels``: for frames that arrive as events."""
        from ptylive.engine.backend.imaging.events_numba import reduce_events
        from ptylive.engine.backend.imaging.reduction_numba import reduce_frames

        self._reduce, self._reduce_events = reduce_frames, reduce_events
        self._plan, self._dtype, self._labels = plan, dtype, labels
        self._limit = float(saturation_value or 0)
        self.saturated = self.masked = 0  # frames arrive without values that are no counts
        rows, cols = len(plan.row_at), len(plan.col_at)
        kind = accumulator_of(dtype)
        frame_bytes = rows * cols * dtype.itemsize
        self._group: Array = np.empty((_frames_at_a_time(frame_bytes), rows * cols), dtype=dtype)
        self._bytes: Array = np.empty((_frames_at_a_time(rows * cols), rows * cols), dtype=np.uint8)
        self._may_be_bytes, self._wide_batches = dtype.kind in "ui" and dtype.itemsize > 1, 0
        self._lines: tuple[Array, Array] = (np.empty(cols, dtype=kind), np.empty(cols, dtype=kind))
        self._pattern: Array = np.zeros(rows * cols, dtype=kind)
        self._total: DoubleArray = np.zeros(rows * cols)
        self._summed = 0
        self._work: ByteArray = np.empty(0, dtype=np.uint8)
        self._sums_of_frame: tuple[Array, Array] | None = None

    def add(self, batch: FrameBatch, span: slice, point: IndexArray, into: Numbers, *, repeats: bool) -> None:
        """See :meth:`Accumulator.add`. Raises ValueError if an encoded frame does not decode."""
        for start in range(span.start, span.stop, SUMMED):
            stop = min(start + SUMMED, span.stop)
            if self._summed + stop - start > SUMMED:
                self._settle()
            self._summed += stop - start
            if batch.events is not None and self._labels is not None:
                self._counted(batch.events, (start, stop), point, into, repeats)
                continue
            failed = self._reduced(batch, slice(start, stop), point, into, repeats)
            if failed:
                raise ValueError(f"{failed} frames of scan {batch.uid} cannot be decoded")

    def take_pattern(self) -> DoubleArray:
        """See :class:`ptylive.engine.imaging.accumulation.reduced_numbers.Accumulator`."""
        self._settle()
        total, self._total = self._total, np.zeros_like(self._total)
        return total

    def _settle(self) -> None:
        self._total += self._pattern
        self._pattern[:] = 0
        self._summed = 0

    def _reduced(self, batch: FrameBatch, span: slice, point: IndexArray, into: Numbers, repeats: bool) -> int:
        coded = batch.coded
        if coded is None:
            frames = np.require(batch.frames, self._dtype, ["C", "A"])
            plain = (0, frames.ctypes.data, np.empty(0, dtype=np.int64), self._dtype.itemsize, 0)
            return self._reduced_into(self._group, plain, span, point, into, repeats)[0]
        if len(self._work) < coded.work_bytes:
            self._work = np.empty(coded.work_bytes, dtype=np.uint8)
        encoded = (coded.data.ctypes.data, coded.ends, self._dtype.itemsize, coded.parameters.ctypes.data)
        failed = 0
        if coded.in_bytes and self._may_be_bytes and not self._wide_batches:
            narrow = (coded.in_bytes, *encoded)
            failed, next_frame = self._reduced_into(self._bytes, narrow, span, point, into, repeats)
            if next_frame == span.stop:
                return failed
            self._wide_batches, span = WIDE_BATCHES, slice(next_frame, span.stop)
        self._wide_batches = max(0, self._wide_batches - 1)
        return failed + self._reduced_into(self._group, (coded.decode, *encoded), span, point, into, repeats)[0]

    def _reduced_into(
        self, group: Array, source: tuple[Any, ...], span: slice, point: IndexArray, into: Numbers, repeats: bool
    ) -> tuple[int, int]:
        """Reduce frames decoded into ``group`` (frames, pixels), whose type decides which code runs.

        Returns how many do not decode, and the first frame that does not fit the type.
        """
        single = Numbers.zeros(2, into.bins.shape[1] if repeats else 0)
        space = (group, *self._lines, single.bins, single.regions, self._work)
        sums = (into.bins, into.regions, into.moments, self._pattern)
        failed, full, next_frame = self._reduce(
            source, span.start, span.stop, point, self._plan, self._limit, sums, space, repeats
        )
        self.saturated += int(full)
        return int(failed), int(next_frame)

    def _counted(
        self, events: EventFrames, span: tuple[int, int], point: IndexArray, into: Numbers, repeats: bool
    ) -> None:
        """Reduce events, at a cost proportional to their number."""
        labels = self._labels
        assert labels is not None  # noqa: S101  (checked by the caller)
        if self._sums_of_frame is None:
            kind = self._pattern.dtype
            self._sums_of_frame = np.zeros(into.bins.shape[1], dtype=kind), np.zeros(len(REGIONS), dtype=kind)
        source = (
            events.ends,
            np.require(events.pixels, np.uint32, ["C", "A", "W"]),  # writable: only one variant to compile
            np.require(events.counts, self._dtype, ["C", "A", "W"]),
        )
        tables = (labels.bin_of, labels.region_of, self._plan.row_at, self._plan.col_at)
        sums = (into.bins, into.regions, into.moments, self._pattern)
        space, most = self._sums_of_frame, self._limit
        self.saturated += int(self._reduce_events(source, span, point, tables, most, sums, space, repeats))


class DeviceAccumulator:
    """Accumulator of raw frames as they lie in memory, reduced on a GPU. A failure there changes nothing here."""

    def __init__(self, reduction: ArrayReduction, frame_size: int, dtype: np.dtype[Any]) -> None:
        self._reduction, self._dtype = reduction, dtype
        self._total: DoubleArray = np.zeros(frame_size)
        self.saturated = self.masked = 0  # frames arrive without values that are no counts

    def add(self, batch: FrameBatch, span: slice, point: IndexArray, into: Numbers, *, repeats: bool) -> None:
        """See :class:`ptylive.engine.imaging.accumulation.reduced_numbers.Accumulator`; raises errors of the device."""
        chosen = np.flatnonzero(point[span] >= 0) + span.start
        if not len(chosen):
            return
        frames = np.require(batch.frames, self._dtype, ["C", "A"]).reshape(len(batch.index), -1)
        reduced, points = self._reduction.reduce(frames, chosen), point[chosen]
        regions, moments = np.split(reduced.numbers, [len(REGIONS)], axis=1)
        for target, values in ((into.bins, reduced.bins), (into.regions, regions), (into.moments, moments)):
            if repeats:
                np.add.at(target, points, values)
            else:
                target[points] = values
        self._total += reduced.pattern
        self.saturated += reduced.full

    def take_pattern(self) -> DoubleArray:
        """See :class:`ptylive.engine.imaging.accumulation.reduced_numbers.Accumulator`."""
        total, self._total = self._total, np.zeros_like(self._total)
        return total


class VectorAccumulator:
    """Accumulator of vectors of coefficients and extras; regions and moments are linear in them, except in roots."""

    def __init__(self, weights: DoubleArray, squared_lengths: Callable[[DoubleArray], DoubleArray] | None) -> None:
        """Weights (4 + 3, N + M) of regions and moments; squared_lengths: added to regions (n, 4), or None."""
        from ptylive.engine.backend.imaging.reduction_numba import reduce_vectors

        self._reduce = reduce_vectors
        self._weights, self._squared_lengths = weights, squared_lengths
        self._total: DoubleArray = np.zeros(weights.shape[1])
        self.saturated = 0  # known only to the maker of the vectors
        self.masked = 0

    def add(self, batch: FrameBatch, span: slice, point: IndexArray, into: Numbers, *, repeats: bool) -> None:
        """See :class:`ptylive.engine.imaging.accumulation.reduced_numbers.Accumulator`."""
        vectors = np.require(batch.frames, np.float32, ["C", "A", "W"])
        sums = (into.bins, into.regions, into.moments, self._total)
        masked = int(self._reduce(vectors, span.start, span.stop, point, self._weights, sums, repeats))
        self.masked += masked
        if self._squared_lengths is not None:
            chosen = np.flatnonzero(point[span] >= 0) + span.start
            exact = (usable_counts(vectors[chosen])[0] if masked else vectors[chosen]).astype(float)
            np.add.at(into.regions, point[chosen], self._squared_lengths(exact))

    def take_pattern(self) -> DoubleArray:
        """See :class:`ptylive.engine.imaging.accumulation.reduced_numbers.Accumulator`."""
        total, self._total = self._total, np.zeros_like(self._total)
        return total
