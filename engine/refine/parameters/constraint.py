"""Constraints that hold throughout an epoch: gradients keep to what is free, and steps are brought back.

Both solvers see a constrained loss: the gradient is projected on the directions that are free, every step ends on an
allowed vector, and the condition of sufficient decrease is asked along the path of allowed vectors. Within a linear
subspace all steps and gradients stay in it, so that the history of L-BFGS is that of the smaller problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.engine.plugins import at_work
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout


class Constraint(Protocol):
    """What holds in an epoch."""

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """Project a gradient on the directions that are free at ``vector``. Changes ``gradient``."""

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """Bring a vector, one step away from an allowed one, back. Changes ``vector``."""


@dataclass(frozen=True)
class Constraints:
    """Several of them, one after the other."""

    each: tuple[Constraint, ...]

    @classmethod
    def of(cls, *asked: Constraint | None) -> Constraints | None:
        """Those that are there; None for none, which costs nothing."""
        found = tuple(one for one in asked if one is not None)
        return cls(found) if found else None

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """See :class:`Constraint`. RefinementError for whatever a plug-in's raises."""
        for one in self.each:
            with at_work(one):
                one.project_gradient(layout, vector, gradient, xp)

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """See :class:`Constraint`. RefinementError for whatever a plug-in's raises."""
        for one in self.each:
            with at_work(one):
                one.restore_fixed(layout, vector, xp)
