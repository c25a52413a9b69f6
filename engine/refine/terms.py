"""Terms of the loss that do not look at patterns: what is known or wanted of the parameters beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ptylive.engine.refine.layout import BlockName, Layout
from ptylive.schema.model import FloatArray, IndexArray


class Term(Protocol):
    """A term of the loss."""

    def add(self, layout: Layout, vector: Any, gradient: Any, xp: Any) -> float:
        """Its value at ``vector``; its gradient is added to ``gradient``."""


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

    def add(self, layout: Layout, vector: Any, gradient: Any, xp: Any) -> float:
        """See :class:`Term`."""
        away = layout.object_block(vector) - self.reference
        force = self.stiffness * away
        layout.object_block(gradient)[...] += force
        return 0.5 * float(xp.dot(force, away))


@dataclass(frozen=True)
class Damping:
    """A pull of the absorption of a weakly damped object towards 0: stiffness / 2 * sum a^2."""

    stiffness: FloatArray
    """(object modes * slices * Y * X,)."""

    def add(self, layout: Layout, vector: Any, gradient: Any, xp: Any) -> float:
        """See :class:`Term`."""
        absorption = layout.absorption_block(vector)
        force = xp.asarray(self.stiffness) * absorption
        layout.absorption_block(gradient)[...] += force
        return 0.5 * float(xp.dot(force, absorption))


@dataclass(frozen=True)
class PositionTerm:
    """What is known of the displacements d of the positions from nominal (object pixels).

    prior / 2 sum |d|^2 + smooth / 2 sum |d[i-1] - 2 d[i] + d[i+1]|^2 along the fast axis
    + deformation / 2 sum |d - affine fit of d over the nominal positions|^2
    """

    nominal: FloatArray
    """(N, 2) shifts before refinement."""
    prior: float
    smooth: float
    triples: IndexArray
    """(n, 3) patterns that follow each other in a row of the scan."""
    deformation: float
    affine: FloatArray
    """(N, 3) orthonormal columns spanning 1 and the nominal positions."""

    def add(self, layout: Layout, vector: Any, gradient: Any, xp: Any) -> float:
        """See :class:`Term`."""
        away = layout.other_blocks(vector)[BlockName.SHIFTS] - xp.asarray(self.nominal)
        force = self.prior * away
        if self.smooth > 0 and len(self.triples):
            before, here, after = xp.asarray(self.triples).T
            bend = self.smooth * (away[before] - 2 * away[here] + away[after])
            for index, weight in ((before, 1), (here, -2), (after, 1)):
                xp.add.at(force, index, weight * bend)
        if self.deformation > 0:
            columns = xp.asarray(self.affine)
            force = force + self.deformation * (away - columns @ (columns.T @ away))
        layout.other_blocks(gradient)[BlockName.SHIFTS][...] += force
        return 0.5 * float((force * away).sum())  # every part is quadratic in d

    @property
    def curvature(self) -> float:
        """An upper bound of the second derivative by one displacement."""
        return self.prior + 16 * self.smooth + self.deformation


def rows_of_three(point: IndexArray, scan_shape: tuple[int, int]) -> IndexArray:
    """Patterns (n, 3) that were taken one after the other at neighbouring points of one row."""
    order = np.arange(len(point) - 2)
    row, column = np.divmod(point, scan_shape[1])
    step = np.diff(column)
    together = (row[:-2] == row[1:-1]) & (row[1:-1] == row[2:]) & (np.abs(step[:-1]) == 1) & (step[:-1] == step[1:])
    return np.asarray(np.stack([order, order + 1, order + 2], axis=1)[together])
