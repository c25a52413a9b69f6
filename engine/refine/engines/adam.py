"""Adam on object, probe and positions, in the coordinates and units of PtyRAD, so that learning rates are comparable.

    m = b1 m + (1 - b1) g      v = b2 v + (1 - b2) g^2      x -= rate  m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

(Kingma and Ba, arXiv:1412.6980; b1 = 0.9, b2 = 0.999, eps = 1e-8, as in PyTorch.) The result depends on coordinates:
a complex object is refined as modulus and phase, the probe in real space. It hardly depends on the scale of the loss,
except for eps and for differences between batches: the gradient is that of PtyRAD's loss, the root mean square of the
misfit of amplitudes over their mean, and the probe is in units of the square root of the largest mean counts (Lee et
al., Microscopy and Microanalysis 31, ozaf070 (2025)). With another data term than lsq_sqrt the gradient is that of the
mean loss per pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import DataTermKind, MultisliceProblem
from ptylive.engine.refine.engines.real_space import to_fourier_space, to_real_space
from ptylive.engine.refine.engines.rule import Batch, PublishedSettings, RuleInput, Step
from ptylive.engine.refine.parameters.parameter_vector import BlockName, ObjectForm, ParameterLayout
from ptylive.engine.refine.parameters.probe_model import ProbeForm

BETA_1, BETA_2, EPS = 0.9, 0.999, 1e-8
SAMPLED = 1024
"""Number of patterns, from all over the scan, that give the mean amplitude."""
TINY = 1e-30


@dataclass(frozen=True)
class Adam:
    """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`. Its state is m and v, (2, n)."""

    object_rate: float
    probe_rate: float
    position_rate: float
    amplitude: float
    """Mean square root of the counts of a pixel."""
    largest: float
    """Square root of the largest counts of the mean pattern: PtyRAD's unit of the probe."""
    pixels: int
    """Number of pixels of a pattern."""
    rooted: bool
    """Whether the loss compares amplitudes."""

    published = PublishedSettings(epochs=200, batch_size=32)

    @classmethod
    def of(cls, inputs: RuleInput) -> Adam:
        """Create from the settings."""
        problem, settings = inputs.problem, inputs.settings
        amplitude, largest = _units(problem)
        rates = (settings.adam_object_rate, settings.adam_probe_rate, settings.adam_position_rate)
        kind = problem.data_term.kind
        return cls(*rates, amplitude, largest, math.prod(problem.patterns.shape[1:]), kind is DataTermKind.AMPLITUDE)

    def stepped(self, batch: Batch, memory: Any, count: int) -> Step:
        """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`."""
        objective = batch.objective
        layout, xp, vector = objective.layout, objective.xp, batch.vector
        gradient = self._in_coordinates(layout, vector, batch.at.gradient, xp) * self._scale(batch, xp)
        first, second = (xp.zeros_like(vector), xp.zeros_like(vector)) if memory is None else memory
        first = np.float32(BETA_1) * first + np.float32(1 - BETA_1) * gradient
        second = np.float32(BETA_2) * second + np.float32(1 - BETA_2) * gradient * gradient
        sizes = math.sqrt(1 - BETA_2 ** (count + 1))
        move = first / (xp.sqrt(second) / np.float32(sizes) + np.float32(EPS)) / np.float32(1 - BETA_1 ** (count + 1))
        self._times_rates(layout, move)
        moved = self._moved(layout, vector, move, xp)
        if not objective.move_object:  # regardless of momentum
            layout.object_block(moved)[...] = layout.object_block(vector)
        if not objective.move_probe:
            layout.probe_block(moved)[...] = layout.probe_block(vector)
        return Step(moved, xp.stack([first, second]))

    def _scale(self, batch: Batch, xp: Any) -> Any:
        """d(PtyRAD's loss) / dL: factor on a gradient that is summed over a batch."""
        values = len(batch.indices) * self.pixels
        if not self.rooted:
            return np.float32(1 / (values * self.amplitude**2))
        loss = xp.maximum(xp.asarray(batch.at.loss, dtype=np.float64), TINY)
        return (1 / (2 * self.amplitude * xp.sqrt(loss * values))).astype(np.float32)

    def _in_coordinates(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """Gradient by modulus and phase of a complex object, and by the probe in real space in PtyRAD's unit."""
        gradient = gradient.copy()
        if layout.object_form is ObjectForm.COMPLEX:
            modulus, turn = _polar(layout, vector, xp)
            planes = layout.object_block(gradient).reshape(2, -1)
            by_modulus = planes[0] * turn[0] + planes[1] * turn[1]
            by_phase = modulus * (planes[1] * turn[0] - planes[0] * turn[1])
            layout.object_block(gradient)[...] = xp.concatenate([by_modulus, by_phase])
        if layout.probe.form is ProbeForm.COMPLEX:
            waves = np.float32(self.largest) * to_real_space(layout.probe_block(gradient), xp)
            layout.probe_block(gradient)[...] = xp.stack([waves.real, waves.imag])
        return gradient

    def _times_rates(self, layout: ParameterLayout, move: Any) -> None:
        layout.object_block(move)[...] *= np.float32(self.object_rate)
        layout.probe_block(move)[...] *= np.float32(self.probe_rate)
        blocks = layout.other_blocks(move)
        if BlockName.SHIFTS in blocks:
            blocks[BlockName.SHIFTS][...] *= np.float32(self.position_rate)

    def _moved(self, layout: ParameterLayout, vector: Any, move: Any, xp: Any) -> Any:
        """The parameters minus a move in the coordinates of :meth:`_in_coordinates`."""
        moved = vector - move
        if layout.object_form is ObjectForm.COMPLEX:
            modulus, turn = _polar(layout, vector, xp)
            modulus_step, angle = layout.object_block(move).reshape(2, -1)
            modulus, cosine, sine = modulus - modulus_step, xp.cos(angle), -xp.sin(angle)
            real, imaginary = turn[0] * cosine - turn[1] * sine, turn[1] * cosine + turn[0] * sine
            layout.object_block(moved)[...] = xp.concatenate([modulus * real, modulus * imaginary])
        if layout.probe.form is ProbeForm.COMPLEX:
            real, imaginary = layout.probe_block(move)
            waves = np.float32(self.largest) * (real + 1j * imaginary)
            layout.probe_block(moved)[...] = layout.probe_block(vector) - to_fourier_space(waves, xp)
        return moved


def _polar(layout: ParameterLayout, vector: Any, xp: Any) -> tuple[Any, Any]:
    """Modulus (n,), and cosine and sine of the phase (2, n), of a complex object."""
    planes = layout.object_block(vector).reshape(2, -1)
    modulus = xp.hypot(planes[0], planes[1])
    unit = xp.stack([xp.ones_like(modulus), xp.zeros_like(modulus)])
    return modulus, xp.where(modulus > 0, planes / xp.maximum(modulus, np.float32(TINY)), unit)


def _units(problem: MultisliceProblem) -> tuple[float, float]:
    """Mean square root of the counts of a pixel, and square root of the largest counts of the mean pattern."""
    stride = max(1, problem.count // SAMPLED)
    sampled = np.maximum(np.asarray(problem.patterns[::stride], dtype=np.float32), 0) * problem.weights
    amplitude = float(np.sqrt(sampled).mean(dtype=np.float64))
    mean = problem.patterns.sum(axis=0, dtype=np.float64) / problem.count * problem.weights
    return max(amplitude, TINY), max(math.sqrt(max(float(mean.max()), 0.0)), TINY)
