"""Numbers kept of every frame while a scan runs: coefficients, region sums, moments, and the sum of all frames."""

from __future__ import annotations

import logging
import threading
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.open import PROCESSOR, MapDevice
from ptylive.engine.backend.imaging.wandering_mean import WanderingMean
from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.descan import moved_back
from ptylive.engine.imaging.accumulation.beam import BeamCurrent
from ptylive.engine.imaging.accumulation.device_trial import DeviceTrial
from ptylive.engine.imaging.accumulation.reduced_numbers import Accumulator, Numbers
from ptylive.engine.imaging.accumulation.reduction import Reduction
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.memory import Scratch, bytes_in_files
from ptylive.schema import FrameBatch, MetadataError, ScanHeader
from ptylive.schema.detector import Descan, usable_counts
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray

log = logging.getLogger(__name__)

LEAST_PIECE, LEAST_OF_LARGE, LARGE_BYTES = 8, 4, 2**18
"""Least number of frames worth waking a helper, for small frames and for frames of at least that many bytes, of which a
batch holds only a few."""


class Store:
    """Numbers of all scan points, filled in any order. One thread adds; any thread may read the mean pattern.

    bins (points, N) float32 coefficients; regions (points, 4), moments (points, 3) float64: sum, sum of I k_row, sum of
    I k_col in recorded pixels; frames (points,): number of frames at each point.
    """

    def __init__(
        self,
        header: ScanHeader,
        reduction: Reduction,
        pool: ThreadPool | None = None,
        scratch: Scratch | None = None,
        device: MapDevice = PROCESSOR,
        descan: Descan | None = None,
        wandering: WanderingMean | None = None,
    ) -> None:
        """The threads of ``pool`` share the work of a batch; without it the caller's thread does all of it.

        ``scratch``: for coefficients that do not fit in memory; ``device``: reduces large batches. ``descan``: patterns
        are moved back by it as they arrive, and the reduction is one for patterns at rest. ``wandering``: the part that
        they have in common.
        """
        rows, cols = header.scan.require_shape()
        points = rows * cols
        self.header = header
        self.reduction = reduction
        self.descan = descan
        self.wandering = wandering
        self.compared = wandering is not None
        """Whether all patterns were examined for their common part, although for some scans none is used."""
        self.descan_given = descan is not None and header.detector.descan_px is not None
        self.shape = (rows, cols)
        numbers = Numbers.zeros(points, 0)
        self._scratch = scratch or Scratch()
        self.bins: FloatArray = self._scratch.zeros((points, reduction.basis.count), np.float32, "coefficients")
        self.regions: DoubleArray = numbers.regions
        self.moments: DoubleArray = numbers.moments
        self.frames: IndexArray = np.zeros(points, dtype=np.int64)
        self.moved: DoubleArray | None = np.zeros((points, 2)) if header.basis.follows else None
        """(points, 2) sums of the displacements of the masks of coefficients, if they followed the beam."""
        self.beam: BeamCurrent | None = None
        """Changing beam current, by which :meth:`coefficients` are divided."""
        self.total_frames = 0
        self._masked_counts = 0
        """Number found before frames are reduced."""
        self._full_frames = 0
        self._frame_sum: DoubleArray = np.zeros(reduction.frame_size)
        self._recent: tuple[DoubleArray, int] = self._frame_sum, 0
        self._pool = pool or ThreadPool()
        self._accumulators: list[Accumulator] = []
        self._device = device
        self._trial = DeviceTrial() if device.on_trial and device.arrays is not None else None
        self._lost = False
        self._on_device: Accumulator | None = None
        self._full_on_device = 0
        """Number of saturated frames in accumulators that have left the device."""
        self._reduced = {"gpu": 0, "cpu": 0}
        self._refused = ""
        self._summing = threading.Lock()  # reading the sum empties the accumulators: not while they add

    def add(self, batch: FrameBatch) -> None:
        """Reduce a batch of frames and store its numbers; flyback and surplus frames are ignored."""
        point = self.header.scan.point_of(batch.index)
        if self._counts_first:
            batch = self._counted(batch)
        elif self.header.basis.is_raw and self._type_of(batch).kind == "f":
            frames, masked = usable_counts(batch.frames)
            self._masked_counts += masked
            batch = batch if not masked else FrameBatch(batch.uid, batch.index, frames)
        with self._summing:
            self._add(batch, point)
        if self.moved is not None:
            vectors = usable_counts(batch.frames[point >= 0])[0]
            np.add.at(self.moved, point[point >= 0], self.header.basis.moved_px(vectors))

    def _type_of(self, batch: FrameBatch) -> np.dtype[Any]:
        """Return the type of the batch's pixels, that of the header for frames that must be decoded first."""
        decoded = batch.coded is None and batch.events is None
        return batch.frames.dtype if decoded else self.header.frame_dtype

    @property
    def _counts_first(self) -> bool:
        """Whether frames are corrected or moved before they are reduced."""
        return (self.descan is not None and self.descan.moves) or self.header.readout.corrects

    def _counted(self, batch: FrameBatch) -> FrameBatch:
        """Return the batch with references and descan corrected; saturation is visible only before correction."""
        recorded, readout = batch.frames, self.header.readout
        if readout.saturation_value is not None:
            good = ~bad_pixels(self.header)
            self._full_frames += int((recorded >= readout.saturation_value).any(axis=(1, 2), where=good).sum())
        frames, masked = readout.counts(recorded)
        self._masked_counts += masked
        if self.descan is not None and self.descan.moves:
            frames = moved_back(self.header, self.descan, batch.index, frames, self.wandering)
        return FrameBatch(batch.uid, batch.index, frames)

    def _add(self, batch: FrameBatch, point: IndexArray) -> None:
        repeats = self.header.scan.repeats > 1
        into = Numbers(self.bins, self.regions, self.moments)
        arrays, trial = self._device.arrays, self._trial
        if arrays is None or self._declined(batch):
            self._add_on_processor(batch, point, into, repeats=repeats)
        elif trial is None:
            if not self._add_on_device(arrays, batch, point, into):
                self._add_on_processor(batch, point, into, repeats=repeats)
        else:
            with trial.timed(trial.turn, len(point)):
                if trial.turn == "cpu" or not self._add_on_device(arrays, batch, point, into):
                    self._add_on_processor(batch, point, into, repeats=repeats)
            self._ended(trial)
        visited_points = point[point >= 0]
        np.add.at(self.frames, visited_points, 1)
        self.total_frames += len(visited_points)

    def _add_on_processor(self, batch: FrameBatch, point: IndexArray, into: Numbers, *, repeats: bool) -> None:
        if not self._accumulators:
            dtype = self._type_of(batch).newbyteorder("=")
            self._accumulators = [self.reduction.accumulator(dtype) for _ in range(self._pool.count)]

        def add_piece(worker: int, start: int, stop: int) -> None:
            self._accumulators[worker].add(batch, slice(start, stop), point, into, repeats=repeats)

        if repeats:  # two threads must not write to the same point
            add_piece(0, 0, len(point))
        else:
            self._pool.split(len(point), add_piece, least=self._least_piece)
        self._reduced["cpu"] += len(point)

    @cached_property
    def _least_piece(self) -> int:
        large = self.reduction.frame_size * self.header.frame_dtype.itemsize >= LARGE_BYTES
        return LEAST_OF_LARGE if large else LEAST_PIECE

    def _declined(self, batch: FrameBatch) -> bool:
        """Return whether a batch is unsuitable for the GPU."""
        reason = self._device.refuses(batch)
        self._refused = reason or self._refused
        return bool(reason)

    def _ended(self, trial: DeviceTrial) -> None:
        """Release the GPU if the CPU was faster."""
        if not trial.decided:
            return
        self._trial, self._lost = None, trial.turn == "cpu"
        if self._lost:
            self._device = replace(self._device, arrays=None, why=trial.words)
            self._release_device()

    def _add_on_device(self, arrays: ArrayDevice, batch: FrameBatch, point: IndexArray, into: Numbers) -> bool:
        """Return whether the GPU reduced a batch; it is not used again after a failure, which costs no frame."""
        try:
            if self._on_device is None:
                self._on_device = self.reduction.device_accumulator(arrays, batch.frames.dtype.newbyteorder("="))
            if self._on_device is None:
                self._device = replace(self._device, arrays=None, why="coefficients are only copied")
                return False
            self._on_device.add(batch, slice(0, len(point)), point, into, repeats=self.header.scan.repeats > 1)
        except arrays.failures as error:
            self._device = self._device.given_up(error)
            log.warning("frames are reduced on the CPU from now on: %s", self._device.why)
            return False
        self._reduced["gpu"] += len(point)
        return True

    def leave_device(self) -> None:
        """Keep nothing on the GPU; frames that still arrive start there again."""
        with self._summing:
            self._release_device()

    def _release_device(self) -> None:
        if self._on_device is not None:
            self._frame_sum += self._on_device.take_pattern()
            self._full_on_device += self._on_device.saturated
            self._on_device = None

    @property
    def reduced_on(self) -> str:
        """Device that reduced the frames, in words, and why not the GPU if there was one."""
        on_cpu, on_gpu = self._reduced["cpu"], self._reduced["gpu"]
        if not on_gpu or self._lost:
            return self._device.words if self._device.arrays is None or not on_cpu else f"cpu ({self._refused})"
        reason = self._device.why or self._refused or "for comparison"
        return f"gpu, {on_cpu} of {on_cpu + on_gpu} frames on the cpu ({reason})" if on_cpu else "gpu"

    @property
    def saturated_frames(self) -> int:
        """Number of frames in which a good pixel was saturated, if the detector's limit is known."""
        if self._counts_first:
            return self._full_frames
        return self._full_on_device + sum(accumulator.saturated for accumulator in self._all)

    @property
    def masked_counts(self) -> int:
        """Number of values that were no counts and were set to 0."""
        return self._masked_counts + sum(accumulator.masked for accumulator in self._all)

    @property
    def frame_sum(self) -> DoubleArray:
        """Sum of all frames, (frame_size,)."""
        with self._summing:
            return self._summed()

    def _summed(self) -> DoubleArray:
        for accumulator in self._all:
            self._frame_sum += accumulator.take_pattern()
        return self._frame_sum.copy()

    @property
    def _all(self) -> list[Accumulator]:
        return self._accumulators if self._on_device is None else [*self._accumulators, self._on_device]

    def snapshot(self, *, coefficients: bool = True) -> Store:
        """Return a copy that no longer changes; ``coefficients``: whether they are needed, the largest part by far."""
        duplicate = copy(self)
        copied = {name: getattr(self, name).copy() for name in ("regions", "moments", "frames")}
        copied["bins"] = self._scratch.copy(self.bins, "coefficients") if coefficients else self.bins[:0]
        copied["moved"] = None if self.moved is None else self.moved.copy()
        vars(duplicate).update(
            copied,
            _frame_sum=self.frame_sum,
            _masked_counts=self.masked_counts,
            _accumulators=[],
            _on_device=None,
            _summing=threading.Lock(),
        )
        return duplicate

    def at_rest(self, descan: Descan, bins: FloatArray, regions: DoubleArray) -> Store:
        """Return a copy with the coefficients (points, N) and region sums (points, 4) of patterns at rest."""
        resting, frame_sum = self.snapshot(), self.frame_sum
        frame_sum[: bins.shape[1]] += (bins - self.bins).sum(axis=0, dtype=float)
        displacement = descan.minus(self.descan).at_points(np.arange(len(bins)), self.shape)
        resting.moments[:, 1:] -= resting.moments[:, :1] * displacement
        given = self.header.detector.descan_px is not None
        vars(resting).update(
            bins=bins, regions=regions, _frame_sum=frame_sum, moved=None, descan=descan, descan_given=given
        )
        return resting

    @property
    def visited(self) -> BoolArray:
        """Scan points (rows, cols) that have at least one frame."""
        return (self.frames > 0).reshape(self.shape)

    @property
    def mean_pattern(self) -> DoubleArray:
        """Mean of all frames, (Qy, Qx), recorded orientation; for coefficients, what they show of it."""
        with self._summing:
            mean = self._summed() / max(self.total_frames, 1)
        return self.reduction.pattern(mean)

    def recent_sum(self, patience_s: float) -> tuple[DoubleArray, int]:
        """Return the sum of all frames (frame_size,) and their number, current or as of the last call.

        Waits no longer than ``patience_s`` for a batch that is being reduced.
        """
        if self._summing.acquire(timeout=patience_s):
            try:
                self._recent = self._summed(), self.total_frames
            finally:
                self._summing.release()
        return self._recent

    def check_counts(self, needed_for: str) -> None:
        """Raise MetadataError if the bright field holds no counts."""
        if not float(self.regions[:, :2].sum()) > 0:
            raise MetadataError(f"{needed_for} needs counts in the bright field", "check the detector")

    def per_frame(self, sums: Array, points: IndexArray | slice = slice(None)) -> Array:
        """Return sums (n, m) over the frames of each of these points, divided by their number."""
        if self.header.scan.repeats == 1:
            return sums
        return np.asarray(sums / np.maximum(self.frames[points], 1)[:, None].astype(sums.dtype))

    def coefficients(self, points: IndexArray | slice = slice(None)) -> FloatArray:
        """Return the coefficients (n, N) per frame at these points, relative to the beam current if it is known."""
        sums: FloatArray = self.bins[points]
        if self.header.scan.repeats == 1 and self.beam is None:
            return sums
        weights = np.maximum(self.frames[points], 1) * (1.0 if self.beam is None else self.beam.relative[points])
        return np.asarray(sums / weights[:, None].astype(np.float32))

    def moments_without(self, descan: Descan | None) -> DoubleArray:
        """Return moments (points, 3) per frame at each point, corrected for a descan."""
        moments = np.asarray(self.per_frame(self.moments))
        if descan is None or descan == self.descan:
            return moments
        displacement = descan.minus(self.descan).at_points(np.arange(len(moments)), self.shape)
        return np.concatenate([moments[:, :1], moments[:, 1:] - moments[:, :1] * displacement], axis=1)

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return sum(a.nbytes for a in (self.bins, self.regions, self.moments, self.frames, self._frame_sum))

    @property
    def bytes_in_files(self) -> int:
        """Part of that memory which lies in a temporary file."""
        return bytes_in_files(self.bins)
