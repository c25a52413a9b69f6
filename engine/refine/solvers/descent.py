"""How L-BFGS goes down: the scaling its recursion begins with, and the search along its direction.

Either is a small class; two pairs are used, ours and PyPty's (:mod:`ptylive.engine.refine.solvers.backtracking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ptylive.engine.refine.solvers.backtracking import BacktrackingSearch, FactorOfEachQuantity
from ptylive.engine.refine.solvers.line_search import Search, WolfeSearch
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.preset import Preset

Pair = tuple[Any, Any]


class Scaling(Protocol):
    """H0, the inverse Hessian before any pair is applied."""

    def scaled(self, objective: Objective, known: Any, pairs: tuple[Pair, ...], gradient: Any) -> Any:
        """H0 times a gradient (n,).

        known: inverse curvature of every parameter (n,), taken at the start; pairs: (s, y), oldest first.
        """
        ...


@dataclass(frozen=True)
class KnownCurvature:
    """The known inverse curvature, its size from the newest pair: gamma = s.y / y.H0 y."""

    def scaled(self, objective: Objective, known: Any, pairs: tuple[Pair, ...], gradient: Any) -> Any:
        """See :class:`Scaling`."""
        xp = objective.xp
        result = known * gradient
        if pairs:
            s, y = pairs[-1]
            result *= xp.dot(s, y) / xp.dot(y, known * y)
        return result


@dataclass(frozen=True)
class Descent:
    """A search and a scaling."""

    search: Search
    scaling: Scaling = KnownCurvature()

    @classmethod
    def of(cls, preset: Preset) -> Descent:
        """As a preset says. KeyError for an optimiser that is none."""
        conditions = (preset.wolfe_c1_constant, preset.wolfe_c2_constant, preset.max_count)
        if preset.optimizer == "scaled":
            return cls(WolfeSearch(*conditions))
        if preset.optimizer != "pypty":
            raise KeyError(preset.optimizer)
        steps = (preset.update_step_bfgs, preset.reduce_factor, preset.optimism, preset.min_step)
        return cls(BacktrackingSearch(*conditions, *steps), FactorOfEachQuantity())
