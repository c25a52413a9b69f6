"""Search for the drift at which the loss of a refined scan has no slope, in few and costly evaluations.

Each evaluation is the end of a refinement, or of its first sweeps, on positions corrected for another drift. The loss
that it reaches is close to a parabola in the drift; its slopes are measured at the end of each
(:mod:`~ptylive.engine.refine.run.again.strained_scan`), and its curvature is estimated from their change, by BFGS
(J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed., 2006, section 6.1), with Powell's safeguard against
curvature that falls too fast. The first estimate comes from the curvature with the object's values held, of which about
half is left once they follow. Where aberrations are parameters, too, what strains and aberrations have in common comes
from the scatter of the slopes, whose correlation is that of the curvature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.probe import Probe
from ptylive.engine.refine.run.again.strained_scan import Slopes
from ptylive.schema.errors import PtyliveError
from ptylive.schema.model import DoubleArray
from ptylive.schema.units import depth_of_focus_A

FAILURES = (PtyliveError, MemoryError, np.linalg.LinAlgError)
"""What may prevent a search, and nothing else: slopes that depend on each other exactly have no next step."""
LEFT, LEFT_OF_SEVERAL = 0.5, 0.25
"""Share of the curvature with the object's values held that is left when they follow, for one slice and several: 0.3 to
0.7 were seen, and 0.1 to 0.3."""
LEAST_LEFT = 1 / 3
"""Least share of the curvature along a step that one estimate may keep."""

SMALL = 0.02
"""Step, as a share of the resolution, that is not worth another short run."""


@dataclass(frozen=True)
class DriftSearch:
    """State of the search after some evaluations; parameters (n,) in Å."""

    point: DoubleArray
    """(n,) where the slopes were measured last."""
    slopes: Slopes
    curvature: DoubleArray
    """(n, n) estimate of the loss's curvature."""
    resolution_A: float
    """Wavelength over semi-angle, which no step of the strains exceeds."""
    focus_A: float = math.inf
    """Wavelength over squared semi-angle, which no step of the aberrations exceeds."""
    lead: DoubleArray | None = None
    """(n,) point to go to first, because of other evidence."""

    @classmethod
    def begin(
        cls, point: DoubleArray, slopes: Slopes, held: DoubleArray, probe: Probe, *, several: bool = False
    ) -> DriftSearch:
        """Begin at a point, with the curvatures (n,) that the loss has there if the object's values are held.

        ``several``: whether the object has several slices, whose values follow better.
        """
        left = LEFT_OF_SEVERAL if several else LEFT
        kinds = (held[: slopes.strains], held[slopes.strains :])
        size = np.sqrt(np.concatenate([np.maximum(left * kind, _floor(kind)) for kind in kinds]))
        curvature = np.outer(size, size) * (_correlation(slopes.covariance) if slopes.optics else np.eye(len(size)))
        focus_A = depth_of_focus_A(probe.wavelength_A, 1e3 * probe.semiangle_invA * probe.wavelength_A)
        return cls(point, slopes, curvature, 1 / probe.semiangle_invA, focus_A)

    @property
    def step(self) -> DoubleArray:
        """(n,) next step, Å."""
        if self.lead is not None:
            return self.lead - self.point
        step = np.linalg.solve(self.curvature, self.slopes.falls)
        strains, optics = np.split(step, [self.slopes.strains])
        share = max(np.linalg.norm(strains) / self.resolution_A, np.linalg.norm(optics) / self.focus_A)
        return np.asarray(step / max(1.0, float(share)))

    @property
    def step_share(self) -> float:
        """Length of the next step of the strains, as a share of the resolution."""
        return float(np.linalg.norm(self.step[: self.slopes.strains])) / self.resolution_A

    @property
    def is_settled(self) -> bool:
        """Whether the slopes may be noise, or the next step is small."""
        return self.slopes.may_be_noise or self.step_share < SMALL

    @property
    def uncertainty(self) -> DoubleArray:
        """(n, n) covariance of the point towards which the step leads, Å²; of counting noise only."""
        inverse = np.linalg.inv(self.curvature)
        return np.asarray(inverse @ self.slopes.covariance @ inverse)

    def leads_towards(self, point: DoubleArray) -> float:
        """Cosine between the next step and the way to a point, in the metric of the curvature; aberrations follow."""
        count = self.slopes.strains
        step, way = self.step[:count], (point - self.point)[:count]
        metric = self.curvature[:count, :count] - self.curvature[:count, count:] @ self._following
        norms = [float(one @ metric @ one) for one in (step, way)]
        return float(step @ metric @ way) / max(math.sqrt(norms[0] * norms[1]), 1e-300)

    def leading_to(self, point: DoubleArray) -> DriftSearch:
        """The same search with a first step to the strains of this point, whatever its length.

        Aberrations follow, as far as those of any step.
        """
        count = self.slopes.strains
        way, own = (point - self.point)[:count], self.curvature[count:, count:]
        optics = np.linalg.solve(own, self.slopes.falls[count:]) - self._following @ way
        optics /= max(1.0, float(np.linalg.norm(optics)) / self.focus_A)
        return replace(self, lead=self.point + np.concatenate([way, optics]))

    @property
    def _following(self) -> DoubleArray:
        """(optics, strains) how far the minimum of each aberration moves back per unit of each strain."""
        count = self.slopes.strains
        return np.asarray(np.linalg.solve(self.curvature[count:, count:], self.curvature[count:, :count]))

    def then(self, point: DoubleArray, slopes: Slopes) -> DriftSearch:
        """Go on from the slopes at another point."""
        step, change = point - self.point, self.slopes.falls - slopes.falls
        along = self.curvature @ step
        expected, seen = float(step @ along), float(step @ change)
        curvature = self.curvature - np.outer(along, along) / expected
        if seen > LEAST_LEFT * expected:
            curvature += np.outer(change, change) / seen
        else:
            curvature += LEAST_LEFT * np.outer(along, along) / expected
        return replace(self, point=point, slopes=slopes, curvature=curvature, lead=None)


def _floor(held: DoubleArray) -> float:
    """Least curvature of parameters of one kind."""
    return 1e-3 * float(np.abs(held).max(initial=0.0)) or 1.0


def _correlation(covariance: DoubleArray) -> DoubleArray:
    deviations = np.sqrt(np.diag(covariance))
    return np.asarray(covariance / np.outer(deviations, deviations))
