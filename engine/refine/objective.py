"""The loss as a function of one flat parameter vector: what the optimisers see.

The vector is the object's block followed by the probe's. The object's block holds the phase of every slice
(phase-only object, O = exp(i phi)) or the real and imaginary planes of its transmission; the probe's block holds the
real and imaginary planes of its modes in Fourier space. All parameters are real, gradients are plain derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice import LossGradient, MultisliceBackend
from ptylive.schema.model import Array, IndexArray

MIXED_CURVATURE = 0.1
"""Share of the largest illumination in the object's curvature: keeps steps bounded where little light fell."""

PORTION = 1 << 26
"""Pixels, slices and modes included, evaluated between two pauses: some tenths of a second on one core."""


@dataclass(frozen=True)
class Layout:
    """Where the blocks lie in the vector."""

    phase_only: bool
    non_negative: bool
    object_shape: tuple[int, int, int]
    """Slices, rows, columns."""
    modes: int
    window: int

    @property
    def object_size(self) -> int:
        """Parameters of the object."""
        return int(np.prod(self.object_shape)) * (1 if self.phase_only else 2)

    @property
    def size(self) -> int:
        """Parameters in all."""
        return self.object_size + 2 * self.modes * self.window**2

    def object_block(self, vector: Any) -> Any:
        """The object's parameters, flat."""
        return vector[: self.object_size]

    def probe_planes(self, vector: Any) -> Any:
        """(2, modes, P, P) in Fourier space."""
        return vector[self.object_size :].reshape(2, self.modes, self.window, self.window)

    def object_planes(self, vector: Any, xp: Any) -> Any:
        """(2, slices, Y, X) real and imaginary part of the transmission."""
        block = self.object_block(vector)
        if not self.phase_only:
            return block.reshape(2, *self.object_shape)
        phase = block.reshape(self.object_shape)
        return xp.stack([xp.cos(phase), xp.sin(phase)])

    def chain(self, planes: Any, gradient: LossGradient, xp: Any) -> Any:
        """Gradient with respect to the vector, from that with respect to the planes: d/dphi = Re d/dO * i O."""
        slope = gradient.object
        if self.phase_only:
            slope = planes[0] * slope[1] - planes[1] * slope[0]
        return xp.concatenate([slope.ravel(), gradient.probe.ravel()])

    def start(self, phase: Array, modes: Array) -> Array:
        """Parameters (float32) of an object of given phase (slices, Y, X) and modulus 1, and of given probe modes."""
        block = phase if self.phase_only else np.stack([np.cos(phase), np.sin(phase)])
        probe = np.stack([modes.real, modes.imag])
        return np.concatenate([np.ravel(block), np.ravel(probe)]).astype(np.float32)

    def to_complex(self, vector: Array) -> tuple[Array, Array]:
        """Transmission (slices, Y, X) and Fourier-space modes (modes, P, P) as complex64."""
        planes, probe = self.object_planes(vector, np), self.probe_planes(vector)
        return (planes[0] + 1j * planes[1]).astype(np.complex64), (probe[0] + 1j * probe[1]).astype(np.complex64)


@dataclass(frozen=True)
class Evaluation:
    """Loss, summed over the patterns asked for, and its gradient (a vector)."""

    loss: float
    gradient: Any


def _no_pause() -> None:
    """Go on."""


@dataclass(frozen=True)
class Anchor:
    """A quadratic pull of the object towards where it was: stiffness / 2 * sum (x - reference)^2 in the object's block.

    Weakly determined parameters stay, well determined ones move: it keeps L-BFGS from fitting noise and the model's
    errors, which the early stop of the sweeps had left out.
    """

    reference: Any
    """(object_size,)."""
    stiffness: Any
    """(object_size,) in units of the loss's curvature."""


@dataclass(frozen=True)
class Objective:
    """A backend's loss over a layout, with the curvatures by which steps are scaled.

    Near a fit the amplitude loss has curvature 2 in every far-field value, so 2 sum_n |probe(r - r_n)|^2 in object
    pixel r and 2 N in every Fourier coefficient of the probe.
    """

    backend: MultisliceBackend
    layout: Layout
    patterns: int
    move_object: bool = True
    move_probe: bool = True
    anchor: Anchor | None = None
    pause: Callable[[], None] = _no_pause
    """Called between portions of a long evaluation; it may raise to abandon it."""

    @property
    def xp(self) -> Any:
        """Array module of the vectors."""
        return self.backend.xp

    def evaluate(self, vector: Any, indices: IndexArray | None = None) -> Evaluation:
        """Loss and gradient of the patterns ``indices`` (None: all); blocks held still have gradient 0."""
        planes = self.layout.object_planes(vector, self.xp)
        result = self._in_portions(planes, self.layout.probe_planes(vector), indices)
        gradient = self.layout.chain(planes, result, self.xp)
        block = self.layout.object_block(gradient)
        if not self.move_object:
            block[...] = 0
            return Evaluation(result.loss, gradient)
        return Evaluation(result.loss + self._pull(vector, block), gradient)

    def _in_portions(self, planes: Any, probe: Any, indices: IndexArray | None) -> LossGradient:
        """The backend's loss and gradient, with a pause every so often."""
        chosen = np.arange(self.patterns) if indices is None else indices
        size = max(1, PORTION // (self.layout.object_shape[0] * self.layout.modes * self.layout.window**2))
        total: LossGradient | None = None
        for first in range(0, len(chosen), size):
            part = self.backend.loss_and_gradient(
                planes, probe, chosen[first : first + size], probe_gradient=self.move_probe
            )
            if total is not None:
                self.pause()
                part = LossGradient(total.loss + part.loss, total.object + part.object, total.probe + part.probe)
            total = part
        assert total is not None  # noqa: S101  (there is at least one pattern)
        return total

    def _pull(self, vector: Any, block: Any) -> float:
        """Loss of the anchor; its gradient is added to the object's ``block``."""
        if self.anchor is None:
            return 0.0
        away = self.layout.object_block(vector) - self.anchor.reference
        force = self.anchor.stiffness * away
        block += force
        return 0.5 * float(self.xp.dot(force, away))

    def peak_illumination(self, vector: Any, indices: IndexArray) -> float:
        """max_r sum_n |probe(r - r_n)|^2 over the patterns ``indices``."""
        return float(self.backend.illumination(self.layout.probe_planes(vector), indices).max())

    def inverse_curvature(self, vector: Any, probe_step: float) -> Any:
        """Diagonal scaling of L-BFGS (a vector): the inverse of the known curvatures, the probe's times a step."""
        xp, layout = self.xp, self.layout
        light = self.backend.illumination(layout.probe_planes(vector))
        curvature = (1 - MIXED_CURVATURE) * light + MIXED_CURVATURE * light.max()
        copies = layout.object_size // light.size
        objects = xp.tile((0.5 / curvature).ravel(), copies)
        probes = xp.full(layout.size - layout.object_size, 0.5 * probe_step / self.patterns)
        return xp.concatenate([objects, probes]).astype(np.float32)

    def project(self, vector: Any) -> Any:
        """The nearest allowed vector: phases at or above 0 where that is asked for. Changes ``vector``."""
        if self.layout.non_negative:
            block = self.layout.object_block(vector)
            self.xp.maximum(block, 0, out=block)
        return vector

    def held(self, vector: Any, gradient: Any) -> Any:
        """Parameters that rest on their bound and would be pushed through it by a step against the gradient."""
        mask = self.xp.zeros(vector.shape, bool)
        if self.layout.non_negative:
            size = self.layout.object_size
            mask[:size] = (vector[:size] <= 0) & (gradient[:size] > 0)
        return mask
