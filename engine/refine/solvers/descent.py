"""How L-BFGS descends: the scaling with which its recursion begins, and the search along its direction.

Each is a small class. Two combinations are used, our own and PyPty's
(:mod:`ptylive.engine.refine.solvers.backtracking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.engine.refine.solvers.backtracking import BacktrackingSearch, FactorOfEachQuantity
from ptylive.engine.refine.solvers.line_search import LineSearch, WolfeSearch
from ptylive.engine.refine.solvers.loss_function import LossFunction
from ptylive.engine.refine.solvers.pairs import Pair, whole
from ptylive.schema.preset.solver import ENGINES, SolverSettings


class Scaling(Protocol):
    """H0, the inverse Hessian before any pair is applied."""

    def scaled(self, objective: LossFunction, inverse_curvature: Any, pairs: tuple[Pair, ...], gradient: Any) -> Any:
        """Return H0 times a gradient (n,).

        known: inverse curvature of every parameter (n,), computed at the start; pairs: (s, y), oldest first.
        """
        ...


@dataclass(frozen=True)
class KnownCurvature:
    """The known inverse curvature, scaled from the newest pair: gamma = s.y / y.H0 y."""

    def scaled(self, objective: LossFunction, inverse_curvature: Any, pairs: tuple[Pair, ...], gradient: Any) -> Any:
        """See :class:`Scaling`."""
        # before the result is allocated, to save memory
        size = _size(objective, inverse_curvature, pairs[-1]) if pairs else None
        result = inverse_curvature * gradient
        if size is not None:
            result *= size
        return result


def _size(objective: LossFunction, inverse_curvature: Any, newest: Pair) -> Any:
    """s.y / y.H0 y."""
    weighted = inverse_curvature * whole(newest[1], objective.xp)
    return objective.dot(*newest) / objective.dot(newest[1], weighted)


@dataclass(frozen=True)
class Descent:
    """A line search and a scaling."""

    search: LineSearch
    scaling: Scaling = KnownCurvature()

    @classmethod
    def of(cls, settings: SolverSettings) -> Descent:
        """The combination that the settings name. KeyError for an unknown optimiser."""
        conditions = (settings.wolfe_c1_constant, settings.wolfe_c2_constant, settings.max_count)
        if settings.optimizer in ("scaled", *ENGINES):  # after a named engine there are no L-BFGS epochs
            return cls(WolfeSearch(*conditions))
        if settings.optimizer != "pypty":
            raise KeyError(settings.optimizer)
        steps = (settings.update_step_bfgs, settings.reduce_factor, settings.optimism, settings.min_step)
        return cls(BacktrackingSearch(*conditions, *steps), FactorOfEachQuantity())
