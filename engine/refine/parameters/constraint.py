"""Constraints that hold throughout an epoch: gradients are projected, and steps end on allowed vectors.

Both solvers see a constrained loss: the gradient is projected onto the free directions, every step ends on an allowed
vector, and the sufficient-decrease condition is tested along the path of allowed vectors. Within a linear subspace all
steps and gradients stay in the subspace, so the history of L-BFGS is that of the smaller problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.engine.plugins import at_work
from ptylive.engine.refine.parameters.parameter_vector import ParameterLayout


class Constraint(Protocol):
    """A constraint that holds throughout an epoch."""

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """Project a gradient onto the directions that are free at ``vector``. Changes ``gradient``."""

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """Bring a vector that is one step away from an allowed one back to an allowed one. Changes ``vector``."""


@dataclass(frozen=True)
class Constraints:
    """Several constraints, applied one after the other."""

    each: tuple[Constraint, ...]

    @classmethod
    def of(cls, *constraints: Constraint | None) -> Constraints | None:
        """Combine the constraints that are not None; return None if there is none, which costs nothing."""
        present = tuple(constraint for constraint in constraints if constraint is not None)
        return cls(present) if present else None

    def project_gradient(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> None:
        """See :class:`Constraint`. RefinementError for whatever a plug-in's constraint raises."""
        for constraint in self.each:
            with at_work(constraint):
                constraint.project_gradient(layout, vector, gradient, xp)

    def restore_fixed(self, layout: ParameterLayout, vector: Any, xp: Any) -> None:
        """See :class:`Constraint`. RefinementError for whatever a plug-in's constraint raises."""
        for constraint in self.each:
            with at_work(constraint):
                constraint.restore_fixed(layout, vector, xp)
