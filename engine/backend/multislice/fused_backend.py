"""The GPU backend for windows that fit on a chip: one launch for all requested patterns, no round trip to the host."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ptylive.engine.backend.device import on_host
from ptylive.engine.backend.multislice.data_terms import PIXEL_TERMS
from ptylive.engine.backend.multislice.fused.order import SCRATCH_SHARE, KernelOrder
from ptylive.engine.backend.multislice.fused.plan import Plan
from ptylive.engine.backend.multislice.problem import (
    HELD,
    Corrections,
    DataTermKind,
    LossGradient,
    MultisliceProblem,
    expect_plain,
)
from ptylive.engine.backend.repeated import Step
from ptylive.schema.model import Array, IndexArray

NOTHING = np.uintp(0)
"""The null pointer."""


class Kernels(Protocol):
    """A compiled kernel (``fused/kernel.cu``) and the device it runs on."""

    xp: ModuleType
    resident: int
    """Number of blocks that run at the same time."""

    def launch(self, name: str, blocks: int, arguments: tuple[Any, ...]) -> None:
        """Queue a kernel. Arguments: arrays of ``xp`` (their address is passed) and numpy scalars."""

    def free_bytes(self) -> int:
        """Free device memory in bytes."""

    def record(self, step: Step, arrays: tuple[Any, ...], uses: tuple[Any, ...]) -> Step:
        """See :class:`~ptylive.engine.backend.repeated.Recorder`; ``uses``: arrays that the backend may replace."""


class _Wave(NamedTuple):
    """Parameters in the kernel's layout."""

    objects: Any
    """(object modes * slices * Y * X, 2) real and imaginary parts."""
    probe: Any
    """(modes, P * P, 2) over P, in the kernel's order."""
    object_modes: int


class FusedMultislice:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` with a pattern's wave in shared memory."""

    name = "gpu"

    def __init__(self, problem: MultisliceProblem, plan: Plan, kernels: Kernels) -> None:
        xp = self.xp = kernels.xp
        self._problem, self._kernels, self._kept_pixels = problem, kernels, plan.kept_pixels
        order = self._order = KernelOrder(xp, plan)
        self._corners = xp.asarray(problem.corners.astype(np.int32, order="C"))
        self._shifts = self._single(problem.shifts_px)
        self._offsets = None if problem.offsets_px is None else self._single(problem.offsets_px)
        self._root_current = None if problem.current is None else self._single(np.sqrt(problem.current))
        self._weights = order.ordered(problem.weights, np.float32)
        self._propagators = order.ordered(problem.propagators / plan.window**2, np.complex64)
        self._phase_per_A: Any = None
        if problem.phase_per_A is not None:
            self._phase_per_A = order.ordered(problem.phase_per_A, np.float32)
        self._patterns = order.uploaded(problem.patterns)
        self._scratch: Any = xp.empty(0, np.complex64)

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
        expect_plain(corrections)
        xp, problem = self.xp, self._problem
        chosen, wave = self._pattern_numbers(indices), self._wave(object_planes, probe_planes)
        losses = xp.empty(len(chosen), np.float32)
        of_object, of_probe = xp.zeros_like(wave.objects), xp.zeros_like(wave.probe)
        per_pattern = corrections.shifts_px is not None or corrections.current is not None
        of_patterns = xp.zeros((problem.count, 3), np.float32) if per_pattern else None
        of_background = None if corrections.background is None else xp.zeros(problem.window**2)
        of_distances = None if corrections.distances_A is None else xp.zeros(problem.object_shape[0] - 1)
        blocks, scratch = self._allocate_scratch(len(chosen), wave, distances=of_distances is not None)
        patterns = [np.int32(len(chosen)), chosen, self._patterns, self._corners, *self._pattern_arrays(corrections)]
        model = [wave.objects, wave.probe, *self._free_space(corrections), self._weights, self._background(corrections)]
        tables = [self._order.frequencies, self._order.roots, self._scratch, np.int64(scratch)]
        sums = [losses, of_object, of_probe if probe_gradient else None, of_patterns, of_background, of_distances]
        self._launch("loss_and_gradient", blocks, [*patterns, *self._sizes(wave), *model, *tables, *sums])
        return LossGradient(
            losses.sum(dtype=np.float64),
            of_object.T.reshape(object_planes.shape),
            self._order.natural_planes(of_probe).reshape(probe_planes.shape),
            self._corrections(corrections, of_patterns, of_background, of_distances),
        )

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        xp = self.xp
        chosen, (_, rows, columns) = self._pattern_numbers(indices), self._problem.object_shape
        wave = xp.fft.ifft2(probe_planes[0] + 1j * probe_planes[1], norm="ortho")
        light = (wave.real**2 + wave.imag**2).sum(axis=0).astype(np.float32)
        total = xp.zeros((rows, columns), np.float32)
        blocks = min(self._kernels.resident, len(chosen))
        self._launch(
            "add_windows", blocks, [np.int32(len(chosen)), chosen, self._corners, np.int32(columns), light, total]
        )
        return total

    def record(self, step: Step, arrays: tuple[Any, ...]) -> Step:
        """See :class:`~ptylive.engine.backend.repeated.Recorder`."""
        return self._kernels.record(step, arrays, (self._scratch,))

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return on_host(array)

    def close(self) -> None:
        """Release the scratch memory."""
        self._scratch = self.xp.empty(0, np.complex64)

    def _launch(self, name: str, blocks: int, arguments: list[Any]) -> None:
        arrays = tuple(NOTHING if value is None else value for value in arguments)
        assert all(value.flags.c_contiguous for value in arrays)  # noqa: S101  (the kernel sees addresses only)
        self._kernels.launch(name, blocks, arrays)

    def _pattern_numbers(self, indices: Any) -> Any:
        """Numbers of the requested patterns, which may be on the device."""
        if indices is None:
            return self.xp.arange(self._problem.count, dtype=np.int32)
        numbers = indices.astype(np.int32) if isinstance(indices, np.ndarray) else indices
        return self.xp.asarray(numbers, dtype=np.int32)

    def _wave(self, object_planes: Any, probe_planes: Any) -> _Wave:
        objects, probe = self._order.object_planes(object_planes), self._order.probe_planes(probe_planes)
        return _Wave(objects, probe, object_planes.shape[1] // self._problem.object_shape[0])

    def _sizes(self, wave: _Wave) -> tuple[Any, ...]:
        """Slices, modes, object size and data term as the kernel's number types."""
        slices, rows, columns = self._problem.object_shape
        term = self._problem.data_term
        number = PIXEL_TERMS[DataTermKind(str(term.kind))].number
        numbers = (slices, len(wave.probe), wave.object_modes, rows, columns, number)
        return (*(np.int32(each) for each in numbers), np.float32(term.offset))

    def _pattern_arrays(self, corrections: Corrections) -> tuple[Any, Any, Any]:
        """Shifts (N, 2), offsets (N, 2) or None, square roots of the beam currents (N,) or None."""
        xp = self.xp
        shifts = self._shifts if corrections.shifts_px is None else self._single(corrections.shifts_px)
        if corrections.current is None:
            return shifts, self._offsets, self._root_current
        return shifts, self._offsets, xp.sqrt(self._single(corrections.current))

    def _free_space(self, corrections: Corrections) -> tuple[Any, Any]:
        """Propagators over P^2 and, if distances are refined, phase per Å, in the kernel's order."""
        if corrections.distances_A is None:
            return self._propagators, None
        distances = self._single(corrections.distances_A)[:, None]
        propagators = self.xp.exp(1j * distances * self._phase_per_A) / self._problem.window**2
        return propagators.astype(np.complex64), self._phase_per_A

    def _background(self, corrections: Corrections) -> Any:
        if corrections.background is None:
            return None
        return self._single(corrections.background).ravel()[self._order.gather]

    def _corrections(self, requested: Corrections, of_patterns: Any, background: Any, distances: Any) -> Corrections:
        """Gradients of the requested corrections, in double precision and in the shapes of those corrections."""
        size = self._problem.window
        double: Any = None if of_patterns is None else of_patterns.astype(np.float64)
        return Corrections(
            shifts_px=None if requested.shifts_px is None else double[:, :2],
            current=None if requested.current is None else double[:, 2],
            background=None if background is None else background[self._order.restore].reshape(size, size),
            distances_A=distances,
        )

    def _allocate_scratch(self, patterns: int, wave: _Wave, *, distances: bool) -> tuple[int, int]:
        """Number of blocks to start, and number of complex values that each keeps (``kernel.cu``: Local)."""
        slices, pixels = self._problem.object_shape[0], self._problem.window**2
        pairs = len(wave.probe) * wave.object_modes
        size = self._kept_pixels + pairs * slices * pixels
        size += pairs * (slices - 1) * pixels if distances else 0
        size += pairs * pixels + pixels // 2 if pairs > 1 else 0
        blocks = min(self._kernels.resident, patterns)
        if blocks * size > len(self._scratch):
            self._scratch = self.xp.empty(0, np.complex64)  # freed before more is allocated
            blocks = max(1, min(blocks, int(SCRATCH_SHARE * self._kernels.free_bytes()) // (8 * size)))
            self._scratch = self.xp.empty(blocks * size, np.complex64)
        return min(blocks, len(self._scratch) // size), size

    def _single(self, values: Any) -> Any:
        return self.xp.ascontiguousarray(self.xp.asarray(values, dtype=np.float32))
