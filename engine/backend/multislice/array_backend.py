"""Multislice loss and gradient written for an array module: numpy in double precision is the reference that every
other implementation is checked against, cupy in single precision is the GPU path.

The blocks (shift, transmit, propagate, detect, compare) and their adjoints stand in the order of the physics in
:mod:`ptylive.engine.backend.multislice.problem`; patterns are handled in batches, arrays are (pattern, mode, row, col).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.data_terms import TINY_COUNTS, compared
from ptylive.engine.backend.multislice.problem import HELD, Corrections, LossGradient, MultisliceProblem
from ptylive.schema.model import Array, IndexArray

BATCH_BYTES = {"numpy": 4 << 20, "cupy": 1 << 30}
"""Work memory of one batch: about the cache on a CPU, a comfortable share of a card on a GPU."""


class _Model(NamedTuple):
    """Parameters of one evaluation as complex arrays."""

    objects: Any
    """(object modes, slices, Y * X)."""
    probe: Any
    propagators: Any
    shifts_px: Any
    root_current: Any
    """(N,), or None."""
    background: Any


class _Gradient(NamedTuple):
    """Where gradients are added up."""

    objects: Any
    """(2, object modes, slices, Y * X)."""
    probe: Any
    """(modes, P, P) complex."""
    corrections: Corrections


class ArrayMultislice:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` on whole arrays of a numpy-like module."""

    def __init__(self, problem: MultisliceProblem, xp: ModuleType, dtype: str, name: str) -> None:
        self.name = name
        self.xp = xp
        self._problem = problem
        self._fft = _transforms(xp)
        self._complex = np.dtype(dtype)
        self._real = np.dtype(np.float32 if self._complex == np.complex64 else np.float64)
        self._weights = xp.asarray(problem.weights, dtype=self._real)
        self._propagators = xp.asarray(problem.propagators, dtype=self._complex)
        rows, columns = np.arange(problem.window), np.arange(problem.window)
        width = problem.object_shape[2]
        self._window_offsets = xp.asarray(rows[:, None] * width + columns[None, :])
        self._corner_offsets = xp.asarray(problem.corners @ np.array([width, 1]))
        self._frequencies = xp.asarray(np.fft.fftfreq(problem.window))
        self._shifts = xp.asarray(problem.shifts_px)
        self._patterns = xp.asarray(problem.patterns)
        self._phase_per_A: Any = None if problem.phase_per_A is None else xp.asarray(problem.phase_per_A)

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
        model = self._model(object_planes, probe_planes, corrections)
        total = self._empty_gradient(object_planes, model, corrections)
        loss: Any = 0.0
        for batch in self._batches(indices, modes=len(model.probe) * len(model.objects)):
            loss += self._add_batch(model, batch, total, probe_gradient=probe_gradient)
        probe = self.xp.stack([total.probe.real, total.probe.imag])
        slices = total.objects.reshape(object_planes.shape)
        return LossGradient(loss, slices, probe, total.corrections)

    def _model(self, object_planes: Any, probe_planes: Any, corrections: Corrections) -> _Model:
        """The parameters as complex arrays, corrections filled in."""
        xp, problem = self.xp, self._problem
        objects = (object_planes[0] + 1j * object_planes[1]).astype(self._complex)
        propagators = self._propagators
        if corrections.distances_A is not None:
            distances = xp.asarray(corrections.distances_A, dtype=np.float64)[:, None, None]
            propagators = xp.exp(1j * self._phase_per_A * distances).astype(self._complex)
        return _Model(
            objects.reshape(-1, problem.object_shape[0], problem.object_shape[1] * problem.object_shape[2]),
            (probe_planes[0] + 1j * probe_planes[1]).astype(self._complex),
            propagators,
            self._shifts if corrections.shifts_px is None else xp.asarray(corrections.shifts_px),
            None if corrections.current is None else xp.sqrt(xp.asarray(corrections.current, dtype=self._real)),
            corrections.background,
        )

    def _empty_gradient(self, object_planes: Any, model: _Model, corrections: Corrections) -> _Gradient:
        xp = self.xp
        double = {
            name: None if value is None else xp.zeros(value.shape, np.float64)
            for name, value in vars(corrections).items()
        }
        return _Gradient(
            xp.zeros((2, *model.objects.shape), self._real), xp.zeros_like(model.probe), Corrections(**double)
        )

    def _add_batch(self, model: _Model, batch: Any, total: _Gradient, *, probe_gradient: bool) -> Any:
        """Loss of a batch; its gradient is added to ``total``."""
        where, ramp = self._windows(batch), self._ramp(model.shifts_px[batch])
        if model.root_current is not None:
            ramp = ramp * model.root_current[batch][:, None, None, None]
        passes = [self._forward(slices, model, where, ramp) for slices in model.objects]
        intensity = sum((far.real**2 + far.imag**2).sum(axis=1) for _, far in passes) / len(passes)
        if model.background is not None:
            intensity = intensity + model.background
        loss, slope = self._compare(intensity, batch)
        if total.corrections.background is not None:
            total.corrections.background[...] += slope.sum(axis=0)
        per_pattern = total.corrections.shifts_px is not None or total.corrections.current is not None
        to_probe = probe_gradient or per_pattern
        behind_probe = self.xp.zeros((len(batch), *model.probe.shape), self._complex)
        for o, (waves, far_field) in enumerate(passes):
            wave = self._fft.ifft2(far_field * (2 / len(passes) * slope)[:, None], norm="ortho")
            wave = self._backward(o, model, waves, wave, where, total)
            if to_probe:
                behind_probe += self._fft.fft2(wave, norm="ortho")
        if probe_gradient:
            total.probe[...] += (ramp.conj() * behind_probe).sum(axis=0)
        if per_pattern:
            self._add_per_pattern(model.probe * ramp, behind_probe, batch, model, total.corrections)
        return loss

    def _backward(self, o: int, model: _Model, waves: list[Any], wave: Any, where: Any, total: _Gradient) -> Any:
        """From the gradient behind the last slice of object mode ``o`` to the one behind the probe."""
        slices = model.objects[o]
        for z in range(len(slices) - 1, -1, -1):
            _scatter_add(self.xp, total.objects[:, o, z], where, (waves[z].conj() * wave).sum(axis=1))
            wave = slices[z][where][:, None].conj() * wave
            if z > 0:
                spectrum = self._fft.fft2(wave, norm="ortho")
                if total.corrections.distances_A is not None:
                    entering = self._fft.fft2(waves[z], norm="ortho")
                    turning = (spectrum.conj() * entering).imag * self._phase_per_A
                    total.corrections.distances_A[z - 1] -= turning.sum(dtype=np.float64)
                wave = self._fft.ifft2(spectrum * model.propagators[z - 1].conj(), norm="ortho")
        return wave

    def _add_per_pattern(
        self, shifted_probe: Any, gradient: Any, batch: Any, model: _Model, total: Corrections
    ) -> None:
        """Position: d probe / d shift = -2 pi i f probe. Current: the probe goes with its root."""
        overlap = (gradient.conj() * shifted_probe).sum(axis=1)
        if total.shifts_px is not None:
            turning = 2 * np.pi * overlap.imag
            total.shifts_px[batch, 0] += (turning.sum(axis=2) * self._frequencies).sum(axis=1)
            total.shifts_px[batch, 1] += (turning.sum(axis=1) * self._frequencies).sum(axis=1)
        if total.current is not None and model.root_current is not None:
            total.current[batch] += 0.5 * overlap.real.sum(axis=(1, 2)) / model.root_current[batch] ** 2

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        xp = self.xp
        _, rows, columns = self._problem.object_shape
        wave = self._fft.ifft2(probe_planes[0] + 1j * probe_planes[1], norm="ortho")
        intensity = (wave.real**2 + wave.imag**2).sum(axis=0).astype(self._real)
        total = xp.zeros(rows * columns, self._real)
        for batch in self._batches(indices, modes=1):
            where = self._windows(batch)
            xp.add.at(total, where.ravel(), xp.broadcast_to(intensity, where.shape).ravel())
        return total.reshape(rows, columns)

    def position_information(self, object_planes: Any, probe_planes: Any, indices: IndexArray) -> Any:
        """Fisher information of the positions of the patterns ``indices`` for a known object, (n, 2, 2) per pixel^2.

        sum_k w dI_k/dx_a dI_k/dx_b / (I_k + c): independent counting, I the model and c its offset.
        """
        xp = self.xp
        model = self._model(object_planes, probe_planes, HELD)
        along = [self._frequencies[:, None], self._frequencies[None, :]]
        found = []
        for batch in self._batches(indices, modes=3 * len(model.probe) * len(model.objects)):
            where, ramp = self._windows(batch), self._ramp(model.shifts_px[batch])
            intensity, slopes = 0.0, [0.0, 0.0]
            for slices in model.objects:
                _, far = self._forward(slices, model, where, ramp)
                intensity = intensity + (far.real**2 + far.imag**2).sum(axis=1) / len(model.objects)
                for axis, f in enumerate(along):
                    _, moved = self._forward(slices, model, where, -2j * np.pi * f * ramp)
                    slopes[axis] = slopes[axis] + 2 * (far.conj() * moved).real.sum(axis=1) / len(model.objects)
            weight = self._weights / (intensity + (self._problem.data_term.offset + TINY_COUNTS))
            both = xp.stack(slopes, axis=1)
            found.append(xp.einsum("naij,nbij,nij->nab", both, both, weight))
        return xp.concatenate(found)

    def expected_patterns(self, object_planes: Any, probe_planes: Any) -> Any:
        """Intensities (N, P, P) of the model at the problem's positions, frequency 0 at [0, 0]."""
        model = self._model(object_planes, probe_planes, HELD)
        found = []
        for batch in self._batches(None, modes=len(model.probe) * len(model.objects)):
            where, ramp = self._windows(batch), self._ramp(model.shifts_px[batch])
            passes = [self._forward(slices, model, where, ramp)[1] for slices in model.objects]
            found.append(sum((far.real**2 + far.imag**2).sum(axis=1) for far in passes) / len(passes))
        return self.xp.concatenate(found)

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return np.asarray(array.get() if hasattr(array, "get") else array)

    def close(self) -> None:
        """Nothing to release."""

    def _windows(self, batch: Any) -> Any:
        """Flat object index of every pixel of the windows of a batch, (n, P, P)."""
        return self._corner_offsets[batch][:, None, None] + self._window_offsets

    def _batches(self, indices: IndexArray | None, modes: int) -> list[Any]:
        """Pattern numbers in portions whose waves fit the work memory."""
        chosen = np.arange(self._problem.count) if indices is None else np.asarray(indices)
        waves = modes * (self._problem.object_shape[0] + 3)
        bytes_each = waves * self._problem.window**2 * self._complex.itemsize
        size = max(1, BATCH_BYTES.get(self.xp.__name__, BATCH_BYTES["numpy"]) // bytes_each)
        return [self.xp.asarray(chosen[i : i + size]) for i in range(0, len(chosen), size)]

    def _ramp(self, shifts_px: Any) -> Any:
        """exp(-2 pi i f . shift) of each of n shifts (n, 2): (n, 1, P, P)."""
        phase = -2j * np.pi * shifts_px[:, :, None] * self._frequencies
        separable = self.xp.exp(phase).astype(self._complex)
        return (separable[:, 0, :, None] * separable[:, 1, None, :])[:, None]

    def _forward(self, slices: Any, model: _Model, where: Any, ramp: Any) -> tuple[list[Any], Any]:
        """The wave that enters each slice of one object mode, and the wave in the detector plane."""
        waves = [self._fft.ifft2(model.probe[None] * ramp, norm="ortho")]
        for z, propagator in enumerate(model.propagators[: len(slices) - 1]):
            waves.append(self._propagate(waves[-1] * slices[z][where][:, None], propagator))
        return waves, self._fft.fft2(waves[-1] * slices[-1][where][:, None], norm="ortho")

    def _propagate(self, wave: Any, propagator: Any) -> Any:
        return self._fft.ifft2(self._fft.fft2(wave, norm="ortho") * propagator, norm="ortho")

    def _compare(self, intensity: Any, batch: Any) -> tuple[Any, Any]:
        """Loss of the batch and dL/dI, weights included."""
        counts = self._patterns[batch].astype(self._real)
        return compared(self.xp, self._problem.data_term, intensity, counts, self._weights)


def _transforms(xp: ModuleType) -> Any:
    """The module of Fourier transforms that keeps single precision."""
    if xp is np:
        import scipy.fft

        return scipy.fft
    return xp.fft


def _scatter_add(xp: ModuleType, planes: Any, where: Any, values: Any) -> None:
    """Add complex ``values`` to the real and imaginary planes (2, Y X) at flat indices that may repeat."""
    xp.add.at(planes[0], where.ravel(), values.real.ravel())
    xp.add.at(planes[1], where.ravel(), values.imag.ravel())
