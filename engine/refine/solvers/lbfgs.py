"""Limited-memory BFGS on all patterns: one accepted step per epoch, and the loss falls with every step.

Two-loop recursion over the stored pairs (Nocedal and Wright, Numerical Optimization, algorithm 7.4). The initial H0 and
the search along the direction are two classes chosen by :mod:`ptylive.engine.refine.solvers.descent`; by
default H0 = gamma * (inverse of the known curvature), gamma = s.y / y.H0 y from the newest pair. Under the bound
phase >= 0 the step is two-metric projected (Bertsekas 1982): parameters held at the bound are left out of the
direction, and the line search follows the projected path, so that the direction remains a descent direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.line_search import Point
from ptylive.engine.refine.solvers.loss_function import LossFunction
from ptylive.engine.refine.solvers.pairs import Pair, add_scaled, kept

FALLING, FALLING_EPOCHS = 1e-3, 3
"""A loss that falls by more than this share per epoch, averaged over three, is still falling; one that rises by more is
rising (docs/refinement.md)."""
SMALLEST_CURVATURE = 1e-10
"""Pairs with s.y below this share of |s| |y| carry no usable curvature and are not stored."""


@dataclass(frozen=True)
class LbfgsState:
    """The state between two epochs; loss and gradient belong to ``vector`` and cover all patterns."""

    vector: Any
    loss: float
    gradient: Any
    scaling: Any
    """Inverse curvature, computed once at the start."""
    reference: Any
    """The object's parameters at the start, towards which the anchor pulls."""
    pairs: tuple[Pair, ...] = ()
    """(s, y), oldest first."""
    evaluations: int = 1
    losses: tuple[float, ...] = ()
    """Loss per pattern of each finished epoch."""
    converged: bool = False
    """No step lowers the loss, or the loss is not finite."""


@dataclass(frozen=True)
class Lbfgs:
    """The solver; it holds settings only."""

    objective: LossFunction
    epochs: int
    history: int
    descent: Descent
    probe_step: float
    """Scaling of the probe relative to the object."""
    anchor: float
    """Curvature of the pull towards the start, as a share of the known curvature."""
    more_epochs: int = 0
    """Further epochs after ``epochs``, as long as the loss still falls (:meth:`is_falling`)."""

    def init(self, vector: Any) -> LbfgsState:
        """Return the initial state, with loss, gradient and scaling evaluated at ``vector``."""
        result = self.objective.evaluate(vector)
        scaling = self.objective.inverse_curvature(vector, self.probe_step)
        reference = self.objective.layout.object_block(vector)
        loss = float(result.loss)
        not_finite = not math.isfinite(loss)
        return LbfgsState(vector, loss, result.gradient, scaling, reference, converged=not_finite)

    def reevaluated(self, state: LbfgsState) -> LbfgsState:
        """Return the state with loss and gradient recomputed, for use after the objective has changed."""
        result = self._anchored(state).evaluate(state.vector)
        return replace(state, loss=float(result.loss), gradient=result.gradient, evaluations=state.evaluations + 1)

    def finished(self, state: LbfgsState) -> bool:
        """Whether all epochs are done, or no step lowers the loss any further."""
        extra_epochs = len(state.losses) - self.epochs
        return state.converged or extra_epochs >= self.more_epochs or (extra_epochs >= 0 and not self.is_falling(state))

    def is_falling(self, state: LbfgsState) -> bool:
        """Whether the loss has fallen over the last epochs by a share that is visible in the object."""
        if state.converged or len(state.losses) <= FALLING_EPOCHS:
            return False
        earlier, latest = state.losses[-1 - FALLING_EPOCHS], state.losses[-1]
        return earlier - latest > FALLING_EPOCHS * FALLING * abs(latest)

    def step(self, state: LbfgsState) -> LbfgsState:
        """Take one accepted step, or return the state marked as converged if no step can be found."""
        start = Point(state.vector, state.loss, state.gradient)
        result = self.descent.search.along(self._anchored(state), start, self._direction(state))
        evaluations = state.evaluations + result.evaluations
        if result.point is None:
            if not state.pairs:
                return replace(state, converged=True, evaluations=evaluations)
            return self.step(replace(state, pairs=(), evaluations=evaluations))
        return replace(
            state,
            vector=result.point.vector,
            loss=result.point.loss,
            gradient=result.point.gradient,
            pairs=self._remember(state, result.point),
            evaluations=evaluations,
            losses=(*state.losses, result.point.loss / self.objective.count),
        )

    def _anchored(self, state: LbfgsState) -> LossFunction:
        if self.anchor == 0:
            return self.objective
        return self.objective.anchored(state.reference, self.objective.layout.object_block(state.scaling), self.anchor)

    def _direction(self, state: LbfgsState) -> Any:
        """-H g on the parameters that are free to move."""
        xp, dot = self.objective.xp, self.objective.dot
        at_bound = self.objective.at_bound(state.vector, state.gradient)
        bounded = bool(at_bound.any())
        free_gradient = xp.where(at_bound, 0, state.gradient) if bounded else state.gradient
        result = free_gradient.copy()
        products = []
        pairs = state.pairs if self.history else ()
        for pair in reversed(pairs):
            curvature, projection = dot(*pair), dot(pair[0], result)
            add_scaled(result, -projection / curvature, pair[1], xp)
            products.append((projection / curvature, curvature))
        result = self._scaled(state, result)
        for pair, (alpha, curvature) in zip(pairs, reversed(products), strict=True):
            beta = dot(pair[1], result) / curvature
            add_scaled(result, alpha - beta, pair[0], xp)
        if bounded:
            result[at_bound] = 0
        direction = xp.negative(result, out=result)
        if float(dot(direction, free_gradient)) < 0:
            return direction
        # rounding spoilt the recursion: fall back to steepest descent, which always descends
        return -self._scaled(replace(state, pairs=()), free_gradient)

    def _scaled(self, state: LbfgsState, gradient: Any) -> Any:
        """H0 g."""
        return self.descent.scaling.scaled(self.objective, state.scaling, state.pairs, gradient)

    def _remember(self, state: LbfgsState, point: Point) -> tuple[Pair, ...]:
        dot, xp = self.objective.dot, self.objective.xp
        pair = kept(point.vector - state.vector, xp), kept(point.gradient - state.gradient, xp)
        s, y = pair
        enough = float(dot(s, y)) > SMALLEST_CURVATURE * math.sqrt(float(dot(s, s))) * math.sqrt(float(dot(y, y)))
        pairs = (*state.pairs, pair) if enough else state.pairs
        return pairs[-max(self.history, 1) :]  # without a history the newest pair still sets the step size
