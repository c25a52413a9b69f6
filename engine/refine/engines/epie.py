"""ePIE, and the gradient descent of py4DSTEM, which is ePIE with several patterns in a batch.

    object += a / max sum |P|^2  sum conj(P) (psi' - psi)        probe += b / max sum |O|^2  sum conj(O) (psi' - psi)

psi' is the exit wave with the measured moduli at the detector. conj(P) (psi' - psi) is half the negative gradient of
lsq_sqrt with offset 0, which the backend computes; sums and largest values are over the patterns of a batch.
Steps a and b are ``sweep_step`` and ``probe_step``, by default 1.

One pattern: Maiden and Rodenburg, Ultramicroscopy 109, 1256 (2009). Several: Varnavides et al., arXiv:2309.05250.
Several probe modes: Thibault and Menzel, Nature 494, 68 (2013). Several slices move together, each with the wave
entering it instead of P, as in py4DSTEM (Maiden, Humphry and Rodenburg, J. Opt. Soc. Am. A 29, 1606 (2012)
propagate the step from slice to slice instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.engines.real_space import object_power, summed_windows
from ptylive.engine.refine.engines.rule import Batch, PublishedSettings, RuleInput, Step
from ptylive.schema.model import IndexArray


@dataclass(frozen=True)
class Epie:
    """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`."""

    corners: IndexArray
    """(N, 2) corners of the windows."""
    object_step: float
    probe_step: float
    model: GeneralMultislice | None = None
    """Model that computes the waves between slices; None for one slice."""

    published = PublishedSettings(epochs=50, batch_size=1)

    @classmethod
    def of(cls, inputs: RuleInput, xp: Any = np) -> Epie:
        """Create from the settings, for arrays of the module ``xp``."""
        multislice = inputs.problem.object_shape[0] > 1
        model = GeneralMultislice(inputs.problem, xp, "complex64", "waves") if multislice else None
        return cls(inputs.problem.corners, inputs.object_step, inputs.probe_step, model)

    def stepped(self, batch: Batch, memory: Any, count: int) -> Step:
        """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`. Changes the gradient of ``batch``."""
        objective, layout, gradient = batch.objective, batch.objective.layout, batch.at.gradient
        if objective.move_object:
            planes = layout.object_block(gradient).reshape(-1, layout.object_shape[0], *layout.object_shape[1:])
            planes *= (self.object_step / self._object_curvature(batch)).astype(np.float32)
        if objective.move_probe:
            layout.probe_block(gradient)[...] *= np.float32(self.probe_step) / self._probe_curvature(batch)
        return Step(batch.vector - gradient)

    def _object_curvature(self, batch: Batch) -> Any:
        """2 max_r sum_n |P(r - r_n)|^2 of each slice, times the scale of the data term: (..., slices, Y, X)."""
        objective, xp = batch.objective, batch.objective.xp
        if self.model is None:
            return objective.peak_curvature(batch.vector, batch.indices)
        physical = objective.layout.physical(batch.vector, xp)
        light = self.model.light_in_slices(physical.object, physical.probe, batch.indices)
        return xp.stack([objective.peak_curvature_in(largest) for largest in light.max(axis=(1, 2))])[:, None, None]

    def _probe_curvature(self, batch: Batch) -> Any:
        """2 max_r sum_n |O(r + r_n)|^2, times the scale of the data term."""
        objective, layout = batch.objective, batch.objective.layout
        xp = objective.xp
        planes = layout.physical(batch.vector, xp).object.reshape(2, layout.object_modes, *layout.object_shape)
        weights = xp.ones(len(batch.indices), np.float32)
        power = summed_windows(object_power(planes), self.corners[batch.indices], layout.window, weights, xp)
        return np.float32(2 * objective.curvature_scale) * power.max()
