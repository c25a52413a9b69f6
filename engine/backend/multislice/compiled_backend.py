"""The CPU backend: compiled code, one pattern in cache at a time, threads over patterns with private sums."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.compiled_kernel import (
    add_illumination,
    add_loss_and_gradient,
    fill_intensities,
    fill_losses,
)
from ptylive.engine.backend.multislice.compiled_terms import OUTSIDE
from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS
from ptylive.engine.backend.multislice.kernel_parts.arguments import (
    FLOAT32,
    FLOAT64,
    UINT8,
    UINT16,
    Gradient,
    Model,
    Patterns,
    Work,
    in_precision,
)
from ptylive.engine.backend.multislice.kernel_parts.buffers import aligned, plane_shapes
from ptylive.engine.backend.multislice.kernel_parts.planes import Real, laid_out, plane_size, unlaid, zeros_at_a_line
from ptylive.engine.backend.multislice.problem import (
    HELD,
    Corrections,
    DataTerm,
    DataTermKind,
    LossGradient,
    MultisliceProblem,
    PythonTerm,
    expect_plain,
)
from ptylive.engine.backend.multislice.window import window_of
from ptylive.engine.backend.shares import Shares
from ptylive.engine.memory import expect_rows
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

DIRECT_TYPES = {"uint8": UINT8, "uint16": UINT16, "float32": FLOAT32, "float64": FLOAT64}
"""Recorded types that are read without conversion; others, and float64 in single precision, are converted once."""


class CompiledMultislice:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` for windows of a fast size."""

    name = "cpu"
    xp: ModuleType = np

    def __init__(self, problem: MultisliceProblem, threads: int = 1) -> None:
        self._problem, self._real = problem, problem.precision.real
        self._window = window_of(problem.window, self._real.name)
        self._recorded, self._counts_type = transposed_patterns(problem.patterns, self._real)
        self._term = term_of(problem.data_term, self._real)
        self._weights = laid_out(problem.weights.T, self._real)
        self._corners = _writable(problem.corners, np.dtype(np.int64))
        self._frequencies = np.fft.fftfreq(problem.window).astype(self._real)
        self._places = np.arange(problem.window, dtype=self._real) - problem.window // 2
        self._shifts = np.array(problem.shifts_px, dtype=np.float64, order="C")
        self._propagators = transposed_propagators(problem.propagators, problem.window, self._real)
        self._turns = _turns(problem, self._real)
        current = np.ones(problem.count) if problem.current is None else problem.current
        self._root_current = np.sqrt(current).astype(self._real)
        self._first_probe = np.zeros(problem.count, np.int64)
        self._shares = Shares(threads)
        self._work: list[Work] = []

    def loss_and_gradient(
        self,
        object_planes: Any,
        probe_planes: Any,
        indices: IndexArray | None = None,
        *,
        probe_gradient: bool = True,
        corrections: Corrections = HELD,
    ) -> LossGradient:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        chosen = np.arange(self._problem.count) if indices is None else _contiguous(indices)
        expect_rows(self._recorded, chosen)
        model = self._model(object_planes, probe_planes, corrections)
        shifts, amplitudes = self._shifts_now(corrections), self._amplitudes(corrections)
        parts = self._evaluate_parts(_Task(model, shifts, amplitudes, probe_gradient, corrections), chosen)
        loss, total = parts[0]
        for part_loss, gradient in parts[1:]:
            loss += part_loss
            for name in ("slices", "probe", "background", "distances"):
                getattr(total, name)[...] += getattr(gradient, name)
        size = self._problem.window
        probe = np.zeros(probe_planes.shape, self._real)
        if probe_gradient:
            probe[...] = np.swapaxes(unlaid(total.probe, size), 2, 3)
        per_pattern = np.concatenate([gradient.patterns for _, gradient in parts])
        return LossGradient(
            loss,
            total.slices.reshape(object_planes.shape),
            probe,
            self._corrections(corrections, chosen, per_pattern, total),
        )

    def _model(self, object_planes: Any, probe_planes: Any, corrections: Corrections) -> Model:
        """The parameters in the kernel's layout. Raises TypeError for corrections that the kernel does not know."""
        expect_plain(corrections)
        problem, real = self._problem, self._real
        slices, rows, columns = problem.object_shape
        planes = _writable(object_planes, real).reshape(2, -1, rows * columns)
        window, modes = problem.window, planes.shape[1] // slices
        background = zeros_at_a_line((plane_size(window, real),), real)
        if corrections.background is not None:
            background = laid_out(np.asarray(corrections.background).T * real.type(modes * window**2), real)
        propagators, phase_per_A = self._propagators, np.zeros(0, real)
        if corrections.distances_A is not None:
            turn = 1j * np.asarray(problem.phase_per_A)
            distances = np.asarray(corrections.distances_A, dtype=np.float64)[:, None, None]
            propagators = transposed_propagators(np.exp(turn * distances), window, real)
            phase_per_A = laid_out(np.asarray(problem.phase_per_A).T, real)
        probe = laid_out(np.swapaxes(probe_planes, 2, 3), real)
        model = Model(planes, columns, probe, propagators, background, self._frequencies, phase_per_A, self._places)
        return in_precision(model, real)

    def _shifts_now(self, corrections: Corrections) -> DoubleArray:
        """Shifts of all patterns, always as the same array type, so that only one version is compiled."""
        if corrections.shifts_px is None:
            return self._shifts
        return np.array(corrections.shifts_px, dtype=np.float64, order="C")

    def _amplitudes(self, corrections: Corrections) -> Array:
        """Square roots of the beam currents."""
        if corrections.current is None:
            return self._root_current
        return np.asarray(np.sqrt(np.asarray(corrections.current, dtype=self._real)))

    def _corrections(
        self, requested: Corrections, chosen: IndexArray, per_pattern: DoubleArray, total: Gradient
    ) -> Corrections:
        """Gradients of the requested corrections, in the shapes of those corrections."""
        size = self._problem.window
        shifts = current = background = None
        if requested.shifts_px is not None:
            shifts = np.zeros((self._problem.count, 2))
            np.add.at(shifts, chosen, per_pattern[:, :2])
        if requested.current is not None:
            current = np.zeros(self._problem.count)
            np.add.at(current, chosen, per_pattern[:, 2])
        if requested.background is not None:
            modes = total.slices.shape[1] // self._problem.object_shape[0]
            background = unlaid(total.background, size).T * (0.5 * size**2 * modes)  # factor = 2 dL/dI / (P^2 O)
        distances = None if requested.distances_A is None else total.distances
        return Corrections(shifts, current, background, distances)

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> FloatArray:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        chosen = np.arange(self._problem.count) if indices is None else _contiguous(indices)
        probe = laid_out(np.swapaxes(probe_planes, 2, 3), self._real)
        planes = zeros_at_a_line((2, 2, plane_size(self._problem.window, self._real)), self._real)
        total = np.zeros(self._problem.object_shape[1:], self._real)
        add_illumination(self._window, probe, chosen, self._corners, planes, total)
        return total

    def losses(
        self, object_planes: Any, probe_planes: Any, indices: IndexArray, *, corrections: Corrections = HELD
    ) -> DoubleArray:
        """Losses (n,) of the patterns ``indices``, in their order, for the planes of :meth:`loss_and_gradient`.

        Without gradients they take less than half the time.
        """
        chosen = _contiguous(indices)
        expect_rows(self._recorded, chosen)
        model = self._model(object_planes, probe_planes, corrections)
        task = _Task(model, self._shifts_now(corrections), self._amplitudes(corrections), False, corrections)
        self._prepare_buffers(model)
        return np.concatenate(self._shares.each(partial(self._losses_of, task), chosen))

    def intensities(self, object_planes: Any, probe_planes: Any) -> FloatArray:
        """Modelled counts (N, P, P) of all patterns of the problem, zero frequency at [0, 0]; one thread.

        Planes as in :meth:`loss_and_gradient`. The recorded counts are not used.
        """
        size, model = self._problem.window, self._model(object_planes, probe_planes, HELD)
        task = _Task(model, self._shifts, self._root_current)
        self._prepare_buffers(model)
        patterns = self._patterns(np.arange(self._problem.count), task)
        counts = np.empty((self._problem.count, plane_size(size, self._real)), self._real)
        fill_intensities(self._window, patterns, task.model, self._work[0], counts)
        return unlaid(counts, size).swapaxes(1, 2)

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return np.asarray(array)

    def close(self) -> None:
        """Stop the threads."""
        self._shares.close()

    def _evaluate_parts(self, task: _Task, chosen: IndexArray) -> list[tuple[float, Gradient]]:
        """Every thread's loss and private gradient; the split depends only on the number of threads."""
        self._prepare_buffers(task.model)
        return self._shares.each(partial(self._part, task), chosen)

    def _prepare_buffers(self, model: Model) -> None:
        """Make the work planes of every thread, unless they are there."""
        if self._work:
            return
        slices = self._problem.object_shape[0]
        pairs = model.probe.shape[1] * model.slices.shape[1] // slices
        shapes, real = plane_shapes(self._problem.window, slices, pairs, self._real), self._real
        self._work = [
            in_precision(Work(**{name: aligned(shape, name, real) for name, shape in shapes.items()}), real)
            for _ in range(self._shares.count)
        ]

    def _part(self, task: _Task, share: IndexArray, thread: int) -> tuple[float, Gradient]:
        """Compute the whole share in one call of compiled code, so that a thread takes the interpreter's lock once."""
        gradient, work = task.empty_gradient(len(share)), self._work[thread]
        loss = add_loss_and_gradient(self._window, self._term, self._patterns(share, task), task.model, gradient, work)
        return loss, gradient

    def _losses_of(self, task: _Task, share: IndexArray, thread: int) -> DoubleArray:
        """The losses (n,) of a share."""
        losses = np.empty(len(share))
        fill_losses(self._window, self._term, self._patterns(share, task), task.model, self._work[thread], losses)
        return losses

    def _patterns(self, share: IndexArray, task: _Task) -> Patterns:
        """Some patterns in the kernel's layout."""
        recorded = (self._recorded, self._counts_type, self._weights, self._corners)
        patterns = Patterns(share, *recorded, task.shifts, task.amplitudes, self._turns, self._first_probe)
        return in_precision(patterns, self._real)


class _Task(NamedTuple):
    """One evaluation: the parameters, and which gradients are requested."""

    model: Model
    shifts: DoubleArray
    amplitudes: Array
    probe_gradient: bool = False
    corrections: Corrections = HELD

    def empty_gradient(self, patterns: int) -> Gradient:
        """Zeros for the requested gradients, arrays of length 0 for the others."""
        requested, model = self.corrections, self.model
        real, plane = model.probe.dtype, model.probe.shape[2]
        per_pattern = requested.shifts_px is not None or requested.current is not None
        gradient = Gradient(
            np.zeros(model.slices.shape, real),
            zeros_at_a_line((2, model.probe.shape[1] if self.probe_gradient else 0, plane), real),
            np.zeros((patterns if per_pattern else 0, 3)),
            np.zeros(0 if requested.background is None else plane),
            np.zeros(0 if requested.distances_A is None else len(requested.distances_A)),
        )
        return in_precision(gradient, real)


def term_of(term: DataTerm, real: Real) -> tuple[int, float, int]:
    """A data term in the form that compiled code takes. ValueError for a term that it does not support."""
    offset = float(term.offset)
    if isinstance(term.kind, PythonTerm) and term.kind.pixel is not None:
        from ptylive.engine.backend.multislice.outside_terms import address_of

        return OUTSIDE, offset, address_of(term.kind, offset, real)
    return PIXEL_TERMS[DataTermKind(str(term.kind))].number, offset, 0


def _contiguous(indices: IndexArray) -> IndexArray:
    """Pattern numbers in contiguous memory, so that every call has the same argument types.

    Two sets of types would mean two compiled versions. Loaded from the cache into one process, with helpers compiled
    under the same names in two other processes, the second version calls the helpers of the first and gives wrong
    numbers (seen with numba 0.68).
    """
    return np.array(indices, dtype=np.int64, order="C")


def _writable(array: Any, dtype: np.dtype[Any]) -> Array:
    """A caller's array in contiguous memory, copied where it is read-only: that would be another argument type, too."""
    return np.require(array, dtype, ["C", "W"])


def transposed_patterns(patterns: Array, real: Real) -> tuple[Array, int]:
    """Bytes of the patterns (N, bytes) with the detector axes exchanged, and their type for compiled code.

    Not copied if the memory is already in that order. Read-only arrays are copied: they would be another argument type,
    and thus need another compiled version.
    """
    wider = real == np.float32 and patterns.dtype == np.float64
    if patterns.dtype.name not in DIRECT_TYPES or not patterns.dtype.isnative or wider:
        patterns = patterns.astype(real, order="K")
    flat = np.ascontiguousarray(np.swapaxes(patterns, 1, 2)).reshape(len(patterns), -1)
    flat = flat if flat.flags.writeable else flat.copy()
    return flat.view(np.uint8), DIRECT_TYPES[flat.dtype.name]


def _turns(problem: MultisliceProblem, real: Real) -> Array:
    """exp(2 pi i x offset / P) of the patterns: (N, axis, part, P), or of length 0 if they have no offsets."""
    if problem.offsets_px is None:
        return np.zeros((0, 2, 2, problem.window), real)
    phase = 2 * np.pi / problem.window * np.asarray(problem.offsets_px)[:, :, None] * np.arange(problem.window)
    return np.stack([np.cos(phase), np.sin(phase)], axis=2).astype(real, order="C")  # see :func:`_contiguous`


def transposed_propagators(propagators: Array, window: int, real: Real) -> Array:
    """(2, slices - 1, plane), including the normalisation of the two transforms around a propagation."""
    transposed = np.swapaxes(propagators, 1, 2) / window**2
    return laid_out(np.stack([transposed.real, transposed.imag]), real)
