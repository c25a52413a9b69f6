"""Warm start: object and probe of an earlier refinement as the start of another, on other data or another grid.

Meant for a scan that still grows, and for settings that changed a little. Where the earlier object does not reach, the
start stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.refine.data.drift import HARMLESS, taken_A
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout, ProbeForm
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.schema.model import Array, ComplexArray, FloatArray

LEAST_SWEEPS = 3
"""Sweeps a warm run makes at least: rows that came last have seen none."""
WRAPPED_RAD = -0.5
"""Phases held at or above 0 come back from a transmission between this and 2 pi + this."""


@dataclass(frozen=True)
class WarmStart:
    """Object and probe of an earlier refinement, and how many sweeps they have behind them."""

    object: ComplexArray
    """(object modes, slices, Y, X) transmission."""
    sampling_A: float
    origin_A: tuple[float, float]
    """Position of pixel (0, 0) in the frame of the positions."""
    probe: ComplexArray
    """(modes, P, P) real space, centred on pixel P // 2."""
    sweeps: int = 0
    """Sweeps that need not be made again."""
    drift_A: tuple[float, float] | None = None
    """Drift taken out of the positions behind it, along (slow, fast) axis; None: the same as in the problem."""

    @classmethod
    def of(cls, result: RefineResult, sweeps: int = 0) -> WarmStart:
        """What a refinement ended with."""
        sampling_A, drift_A = result.object_sampling_A[0], taken_A(result.drift)
        return cls(result.object, sampling_A, result.origin_A, result.probe[0], sweeps, drift_A)

    def applied(self, problem: Problem) -> Problem:
        """The problem beginning here; an object or a probe of another form or size is left as the problem has it.

        A refinement that starts from the live map takes the probe only: the map knows the low frequencies, which come
        slowly by refining. So does one that takes another drift out of the positions: the earlier object is strained.
        """
        vector, layout, strategy = problem.start.copy(), problem.layout, problem.strategy
        if self._probe_fits(layout):
            modes = np.fft.fft2(self.probe, norm="ortho")
            modes *= np.sqrt(problem.statistics.counts_per_pattern / (np.abs(modes) ** 2).sum())
            layout.probe_block(vector)[...] = [modes.real, modes.imag]
            strategy = replace(strategy, probe_sweeps=0)
        if self._strained(problem):
            words = f"{strategy.reason}; begun anew: the earlier object is of positions with drift"
            strategy = replace(strategy, reason=words)
        elif self._object_fits(layout) and not strategy.start_from_map:
            planes = _parameters(self._resampled(problem.grid), layout)
            layout.object_block(vector)[...] = planes.ravel()
            spared = min(self.sweeps, max(0, strategy.sweeps - LEAST_SWEEPS))
            words = f"{strategy.reason}; begun from an earlier refinement"
            strategy = replace(strategy, sweeps=strategy.sweeps - spared, epochs=strategy.epochs - spared, reason=words)
        return replace(problem, start=vector, strategy=strategy)

    def _object_fits(self, layout: ParameterLayout) -> bool:
        return self.object.shape[:2] == (layout.object_modes, layout.object_shape[0])

    def _strained(self, problem: Problem) -> bool:
        measured = problem.measured
        if self.drift_A is None:
            return False
        drift_A = np.subtract(self.drift_A, taken_A(measured.drift))
        return float(np.hypot(*drift_A)) > HARMLESS / measured.probe.semiangle_invA

    def _probe_fits(self, layout: ParameterLayout) -> bool:
        return layout.probe.form is ProbeForm.COMPLEX and self.probe.shape == layout.probe.start.shape

    def _resampled(self, grid: ObjectGrid) -> ComplexArray:
        """The transmission on another grid (modes, slices, Y, X), 1 where nothing was refined."""
        from scipy.ndimage import affine_transform

        scale = np.diag(np.full(2, grid.pixel_A / self.sampling_A))
        offset = (np.asarray(grid.origin_A) - np.asarray(self.origin_A)) / self.sampling_A
        made = np.empty((*self.object.shape[:2], *grid.shape), np.complex64)
        for index in np.ndindex(*self.object.shape[:2]):
            away = self.object[index] - 1
            made[index] = 1 + affine_transform(away, scale, offset, grid.shape, order=3, mode="constant")
        return made


def _parameters(transmission: ComplexArray, layout: ParameterLayout) -> FloatArray:
    """The object's parameters that stand for a transmission, as :class:`ParameterLayout` arranges them."""
    if layout.object_form is ObjectForm.COMPLEX:
        return np.stack([transmission.real, transmission.imag]).astype(np.float32)
    phase: Array = np.angle(transmission)
    if layout.non_negative:
        phase = np.maximum(np.where(phase < WRAPPED_RAD, phase + 2 * np.pi, phase), 0)
    if layout.object_form is ObjectForm.PHASE:
        return phase.astype(np.float32)
    absorption = np.maximum(-np.log(np.maximum(np.abs(transmission), 1e-6)), 0)
    return np.stack([phase, absorption]).astype(np.float32)
