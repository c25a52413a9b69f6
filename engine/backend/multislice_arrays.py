"""Multislice loss and gradient written for an array module: numpy in double precision is the reference that every
other implementation is checked against, cupy in single precision is the GPU path.

The blocks (shift, transmit, propagate, detect, compare) and their adjoints stand in the order of the physics in
:mod:`ptylive.engine.backend.multislice`; patterns are handled in batches, arrays are (pattern, mode, row, col).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice import DataTermKind, LossGradient, MultisliceProblem
from ptylive.schema.model import Array, IndexArray

BATCH_BYTES = {"numpy": 4 << 20, "cupy": 1 << 30}
"""Work memory of one batch: about the cache on a CPU, a comfortable share of a card on a GPU."""
TINY_COUNTS = 1e-12
"""Keeps the square root of an unlit pixel, and its derivative, finite."""


class ArrayMultislice:
    """:class:`~ptylive.engine.backend.multislice.MultisliceBackend` on whole arrays of a numpy-like module."""

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

    def loss_and_gradient(
        self, object_planes: Any, probe_planes: Any, indices: IndexArray | None = None, *, probe_gradient: bool = True
    ) -> LossGradient:
        """See :class:`~ptylive.engine.backend.multislice.MultisliceBackend`."""
        xp = self.xp
        slices = (object_planes[0] + 1j * object_planes[1]).astype(self._complex).reshape(len(object_planes[0]), -1)
        probe = (probe_planes[0] + 1j * probe_planes[1]).astype(self._complex)
        slices_gradient = xp.zeros((2, *slices.shape), self._real)
        probe_total = xp.zeros_like(probe)
        loss = 0.0
        for batch in self._batches(indices, modes=len(probe)):
            where = self._windows(batch)
            ramp = self._ramp(batch)
            waves, far_field = self._forward(slices, probe, where, ramp)
            batch_loss, wave = self._compare(far_field, batch)
            loss += batch_loss
            wave = self._fft.ifft2(wave, norm="ortho")
            for z in range(len(slices) - 1, -1, -1):
                _scatter_add(xp, slices_gradient[:, z], where, (waves[z].conj() * wave).sum(axis=1))
                wave = slices[z][where][:, None].conj() * wave
                if z > 0:
                    wave = self._propagate(wave, self._propagators[z - 1].conj())
            if probe_gradient:
                probe_total += (ramp.conj() * self._fft.fft2(wave, norm="ortho")).sum(axis=0)
        gradient = slices_gradient.reshape(object_planes.shape)
        return LossGradient(loss, gradient, xp.stack([probe_total.real, probe_total.imag]))

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.MultisliceBackend`."""
        xp = self.xp
        _, rows, columns = self._problem.object_shape
        wave = self._fft.ifft2(probe_planes[0] + 1j * probe_planes[1], norm="ortho")
        intensity = (wave.real**2 + wave.imag**2).sum(axis=0).astype(self._real)
        total = xp.zeros(rows * columns, self._real)
        for batch in self._batches(indices, modes=1):
            where = self._windows(batch)
            xp.add.at(total, where.ravel(), xp.broadcast_to(intensity, where.shape).ravel())
        return total.reshape(rows, columns)

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.MultisliceBackend`."""
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

    def _ramp(self, batch: Any) -> Any:
        """exp(-2 pi i f . shift) of each pattern, (n, 1, P, P)."""
        phase = -2j * np.pi * self._shifts[batch][:, :, None] * self._frequencies
        separable = self.xp.exp(phase).astype(self._complex)
        return (separable[:, 0, :, None] * separable[:, 1, None, :])[:, None]

    def _forward(self, slices: Any, probe: Any, where: Any, ramp: Any) -> tuple[list[Any], Any]:
        """The wave that enters each slice, and the wave in the detector plane."""
        waves = [self._fft.ifft2(probe[None] * ramp, norm="ortho")]
        for z, propagator in enumerate(self._propagators[: len(slices) - 1]):
            waves.append(self._propagate(waves[-1] * slices[z][where][:, None], propagator))
        return waves, self._fft.fft2(waves[-1] * slices[-1][where][:, None], norm="ortho")

    def _propagate(self, wave: Any, propagator: Any) -> Any:
        return self._fft.ifft2(self._fft.fft2(wave, norm="ortho") * propagator, norm="ortho")

    def _compare(self, far_field: Any, batch: Any) -> tuple[float, Any]:
        """Loss of the batch and 2 dL/d(far field)*, the gradient with respect to its real and imaginary parts."""
        xp, term = self.xp, self._problem.data_term
        counts = self._patterns[batch].astype(self._real)
        intensity = (far_field.real**2 + far_field.imag**2).sum(axis=1)
        model = intensity + (term.offset + TINY_COUNTS)
        if term.kind is DataTermKind.AMPLITUDE:
            amplitude = xp.sqrt(model)
            difference = amplitude - xp.sqrt(counts + term.offset)
            loss, slope = difference**2, difference / amplitude
        else:
            loss = model - counts - counts * (xp.log(model) - xp.log(xp.where(counts > 0, counts, 1)))
            slope = 1 - counts / model
        total = float((loss * self._weights).sum(dtype=np.float64))
        return total, far_field * (2 * self._weights * slope)[:, None]


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
