"""The CPU backend: compiled code, one pattern in cache, plain threads over patterns with private sums."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.compiled_kernel import (
    AMPLITUDE,
    POISSON,
    Gradient,
    Model,
    Patterns,
    Work,
    add_loss_and_gradient,
    add_windows,
    load_patterns,
)
from ptylive.engine.backend.multislice import DataTerm, DataTermKind, LossGradient, MultisliceProblem
from ptylive.engine.backend.planes_fft import Window
from ptylive.schema.model import Array, FloatArray, IndexArray

CHUNK = 32
"""Patterns handed to compiled code at once: their counts as float32 stay in the second-level cache."""
CACHE_LINE = 64
DIRECT_DTYPES = ("uint8", "uint16", "float32")
"""Recorded types that are read as they are; others are converted to float32 once."""


class CompiledMultislice:
    """:class:`~ptylive.engine.backend.multislice.MultisliceBackend` for windows of a fast size."""

    name = "cpu"
    xp: ModuleType = np

    def __init__(self, problem: MultisliceProblem, threads: int = 1) -> None:
        self._problem = problem
        self._window = Window(problem.window)
        self._recorded = _transposed_patterns(problem.patterns)
        kind = AMPLITUDE if problem.data_term.kind is DataTermKind.AMPLITUDE else POISSON
        self._term = (kind, float(problem.data_term.offset))
        self._weights = _flat(problem.weights.T)
        self._corners = np.ascontiguousarray(problem.corners, dtype=np.int64)
        self._ramps = _ramps(problem)
        transposed = np.swapaxes(problem.propagators, 1, 2) / problem.window**2
        self._propagators = _flat(np.stack([transposed.real, transposed.imag]))
        self._threads = max(1, threads)
        self._work: list[tuple[Work, FloatArray]] = []
        self._pool = ThreadPoolExecutor(self._threads, "refine") if self._threads > 1 else None

    def loss_and_gradient(
        self, object_planes: Any, probe_planes: Any, indices: IndexArray | None = None, *, probe_gradient: bool = True
    ) -> LossGradient:
        """See :class:`~ptylive.engine.backend.multislice.MultisliceBackend`."""
        _, slices, rows, columns = object_planes.shape
        model = Model(
            np.ascontiguousarray(object_planes, dtype=np.float32).reshape(2, slices, rows * columns),
            columns,
            _flat(np.swapaxes(probe_planes, 2, 3)),
            self._propagators,
        )
        chosen = np.arange(self._problem.count) if indices is None else np.asarray(indices, dtype=np.int64)
        parts = self._in_parts(model, chosen, probe_gradient)
        loss, total = parts[0]
        for more, gradient in parts[1:]:
            loss += more
            total.slices[...] += gradient.slices
            total.probe[...] += gradient.probe
        size = self._problem.window
        probe = np.zeros(probe_planes.shape, np.float32)
        if probe_gradient:
            probe[...] = np.swapaxes(total.probe.reshape(2, -1, size, size), 2, 3)
        return LossGradient(loss, total.slices.reshape(2, slices, rows, columns), probe)

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> FloatArray:
        """See :class:`~ptylive.engine.backend.multislice.MultisliceBackend`."""
        import scipy.fft

        wave = scipy.fft.ifft2(probe_planes[0] + 1j * probe_planes[1], norm="ortho")
        intensity = (wave.real**2 + wave.imag**2).sum(axis=0).astype(np.float32)
        chosen = np.arange(self._problem.count) if indices is None else np.asarray(indices, dtype=np.int64)
        total = np.zeros(self._problem.object_shape[1:], np.float32)
        add_windows(intensity, chosen, self._corners, total)
        return total

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.MultisliceBackend`."""
        return np.asarray(array)

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _in_parts(self, model: Model, chosen: IndexArray, probe_gradient: bool) -> list[tuple[float, Gradient]]:
        """Every thread's loss and private gradient; the split depends on nothing but the number of threads."""
        if not self._work:
            slices, modes = model.slices.shape[1], model.probe.shape[1]
            self._work = [_buffers(self._problem.window, slices, modes) for _ in range(self._threads)]
        shares = np.array_split(chosen, self._threads)
        if self._pool is None:
            return [self._part(model, shares[0], probe_gradient, 0)]
        futures = [
            self._pool.submit(self._part, model, share, probe_gradient, thread) for thread, share in enumerate(shares)
        ]
        return [future.result() for future in futures]

    def _part(self, model: Model, share: IndexArray, probe_gradient: bool, thread: int) -> tuple[float, Gradient]:
        work, counts = self._work[thread]
        modes = model.probe.shape[1] if probe_gradient else 0
        gradient = Gradient(
            np.zeros(model.slices.shape, np.float32), np.zeros((2, modes, model.probe.shape[2]), np.float32)
        )
        loss = 0.0
        for first in range(0, len(share), CHUNK):
            indices = share[first : first + CHUNK]
            load_patterns(self._recorded, indices, counts)
            patterns = Patterns(indices, counts, self._weights, self._corners, self._ramps)
            loss += add_loss_and_gradient(self._window, self._term, patterns, model, gradient, work)
        return loss, gradient


def warm_up(window: int, dtype: str = "uint16") -> None:
    """Compile (or load from the cache) what a refinement with this window and recorded type needs.

    Takes seconds the first time on a machine; call it in the background while a scan runs.
    """
    from ptylive.engine.backend.fast_sizes import is_fast

    if not is_fast(window):
        return
    problem = MultisliceProblem(
        patterns=np.zeros((1, window, window), dtype),
        weights=np.ones((window, window), np.float32),
        corners=np.zeros((1, 2), np.int64),
        shifts_px=np.zeros((1, 2)),
        object_shape=(1, window, window),
        propagators=np.zeros((0, window, window), np.complex128),
        data_term=DataTerm(DataTermKind.AMPLITUDE, 0.0),
    )
    backend = CompiledMultislice(problem)
    probe = np.zeros((2, 1, window, window), np.float32)
    backend.illumination(probe)
    backend.loss_and_gradient(np.ones((2, 1, window, window), np.float32), probe)


def _flat(planes: Any) -> FloatArray:
    """Contiguous float32 with the two pixel axes joined."""
    return np.ascontiguousarray(planes, dtype=np.float32).reshape(
        *planes.shape[:-2], planes.shape[-2] * planes.shape[-1]
    )


def _transposed_patterns(patterns: Array) -> Array:
    """Patterns (N, P*P) with the detector axes exchanged: no copy where the memory already lies that way."""
    if patterns.dtype.name not in DIRECT_DTYPES or not patterns.dtype.isnative:
        patterns = patterns.astype(np.float32, order="K")
    return np.ascontiguousarray(np.swapaxes(patterns, 1, 2)).reshape(len(patterns), -1)


def _ramps(problem: MultisliceProblem) -> FloatArray:
    """exp(-2 pi i f shift) of each pattern: (N, axis, part, P)."""
    phase = -2 * np.pi * problem.shifts_px[:, :, None] * np.fft.fftfreq(problem.window)
    return np.stack([np.cos(phase), np.sin(phase)], axis=2).astype(np.float32)


def _buffers(size: int, slices: int, modes: int) -> tuple[Work, FloatArray]:
    """Work planes of one thread and room for a chunk of counts, aligned to cache lines."""
    plane = size * size
    work = Work(
        waves=_aligned((modes, slices, 2, plane)),
        far_field=_aligned((modes, 2, plane)),
        a=_aligned((2, plane)),
        b=_aligned((2, plane)),
        intensity=_aligned((plane,)),
    )
    return work, _aligned((CHUNK, plane))


def _aligned(shape: tuple[int, ...]) -> FloatArray:
    """Zeros whose memory begins on a cache line: vector loads across lines cost a tenth of the speed."""
    count = int(np.prod(shape))
    room = np.zeros(count * 4 + CACHE_LINE, np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return room[start : start + count * 4].view(np.float32).reshape(shape)
