"""ePIE, and the gradient descent of py4DSTEM, which is ePIE with more than one pattern in a batch.

    object += a / max sum |P|^2  sum conj(P) (psi' - psi)        probe += b / max sum |O|^2  sum conj(O) (psi' - psi)

psi' is the exit wave with the measured moduli at the detector. conj(P) (psi' - psi) is half the negative gradient of
lsq_sqrt with offset 0, which is what is asked of the backend; sums and largest values over the patterns of a batch.
Steps a and b are ``sweep_step`` and ``probe_step``, 1 where nobody says otherwise.

One pattern: Maiden and Rodenburg, Ultramicroscopy 109, 1256 (2009). Several: Varnavides et al., arXiv:2309.05250.
Several modes of the probe: Thibault and Menzel, Nature 494, 68 (2013). Several slices move together, each by the
gradient of its own, over the illumination of the entrance (Maiden, Humphry and Rodenburg, J. Opt. Soc. Am. A 29, 1606
(2012) take it from slice to slice instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.engines.real_space import object_power, summed_windows
from ptylive.engine.refine.engines.rule import Batch, Given, Published, Step
from ptylive.schema.model import IndexArray


@dataclass(frozen=True)
class Epie:
    """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`."""

    corners: IndexArray
    """(N, 2) of the windows."""
    object_step: float
    probe_step: float

    published = Published(epochs=50, batch_size=1)

    @classmethod
    def of(cls, given: Given) -> Epie:
        """As the settings say."""
        return cls(given.problem.corners, given.object_step, given.probe_step)

    def stepped(self, batch: Batch, memory: Any, count: int) -> Step:
        """See :class:`~ptylive.engine.refine.engines.rule.EngineRule`. Changes the gradient of ``batch``."""
        objective, layout, gradient = batch.objective, batch.objective.layout, batch.at.gradient
        if objective.move_object:
            curvature = objective.peak_curvature(batch.vector, batch.indices)
            layout.object_block(gradient)[...] *= (self.object_step / curvature).astype(np.float32)
        if objective.move_probe:
            layout.probe_block(gradient)[...] *= np.float32(self.probe_step) / self._probe_curvature(batch)
        return Step(batch.vector - gradient)

    def _probe_curvature(self, batch: Batch) -> Any:
        """2 max_r sum_n |O(r + r_n)|^2, times the scale of the data term."""
        objective, layout = batch.objective, batch.objective.layout
        xp = objective.xp
        planes = layout.physical(batch.vector, xp).object.reshape(2, layout.object_modes, *layout.object_shape)
        ones = xp.ones(len(batch.indices), np.float32)
        seen = summed_windows(object_power(planes), self.corners[batch.indices], layout.window, ones, xp)
        return np.float32(2 * objective.curvature_scale) * seen.max()
