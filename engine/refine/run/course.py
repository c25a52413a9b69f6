"""The solvers of a run, sweeps followed by L-BFGS, with the parameters that strategy and preset give them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.refine.engines.epochs import BatchEngine
from ptylive.engine.refine.problem.strategy import Strategy
from ptylive.engine.refine.results.refinement_result import Phase
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs, LbfgsState
from ptylive.engine.refine.solvers.loss_function import PatternLoss
from ptylive.engine.refine.solvers.sweeps import HELD_OUT_SHARE, Sweeps, SweepState
from ptylive.schema.model import IndexArray
from ptylive.schema.preset.solver import SolverSettings

SolverState = SweepState | LbfgsState
DIVERGED = "diverged: no step lowers the loss: use smaller steps (sweep_step, probe_step) or weights"
NO_SWEEP = "no sweep lowered the loss, even in small steps: all epochs are L-BFGS"


@dataclass(frozen=True)
class CoursePlan:
    """Parameters that the solvers need in addition to a loss."""

    settings: SolverSettings
    sweeps: int
    probe_sweeps: int
    """Number of first sweeps that move only the probe."""
    epochs: int
    """Number of sweeps and L-BFGS epochs together."""
    batch_size: int
    object_step: float
    """Step of the object in a sweep, as a share of the Newton step; ``probe_step`` likewise."""
    probe_step: float
    anchor: float
    """Pull of L-BFGS towards the result of the sweeps, as a share of the curvature."""
    more_epochs: int
    """Maximum number of further epochs while the loss still falls."""
    spared: int = 0
    """Number of epochs left out because an earlier refinement made them."""

    @classmethod
    def of(cls, strategy: Strategy, settings: SolverSettings, *, open_end: bool) -> CoursePlan:
        """Plan of a run; ``open_end``: it may continue for as long as the strategy allows."""
        return cls(
            settings,
            strategy.sweeps,
            strategy.probe_sweeps,
            strategy.epochs,
            strategy.batch_size,
            strategy.sweep_step,
            strategy.probe_step,
            strategy.anchor,
            strategy.more_epochs if open_end else 0,
            strategy.spared_epochs,
        )


@dataclass(frozen=True)
class Course:
    """Both solvers; a named engine takes the place of the sweeps and runs all epochs."""

    sweeps: Sweeps | BatchEngine
    lbfgs: Lbfgs
    epochs: int
    """Number of epochs of both together, with those that an earlier refinement made."""

    @classmethod
    def of(cls, plan: CoursePlan, loss: PatternLoss, rows: IndexArray | None = None) -> Course:
        """Solvers as planned for a loss over all patterns; ``rows`` (N,): first rows of the pattern windows."""
        sweeps = Sweeps(
            loss,
            plan.sweeps,
            plan.probe_sweeps,
            plan.batch_size,
            plan.object_step,
            plan.probe_step,
            plan.settings.seed,
            *_held_out(loss.patterns, plan.settings),
            rows=rows,
        )
        lbfgs = Lbfgs(
            loss,
            plan.epochs - plan.sweeps,
            plan.settings.hist_length,
            Descent.of(plan.settings),
            plan.probe_step / plan.object_step,
            plan.anchor,
            plan.more_epochs,
        )
        return cls(sweeps, lbfgs, plan.epochs + plan.spared)

    def without(self, held: tuple[IndexArray, ...]) -> Course:
        """Return a copy with groups of patterns held out."""
        if not held:
            return self
        count, loss = self.sweeps.objective.patterns, self.sweeps.objective
        remaining = np.setdiff1d(np.arange(count), np.concatenate(held))
        loss = loss.of_patterns(remaining)
        # keep the number of batches: how far a sweep moves the object depends on it
        size = math.ceil(len(remaining) / math.ceil(count / self.sweeps.batch_size))
        return replace(
            self,
            sweeps=replace(self.sweeps, objective=loss, batch_size=size),  # type: ignore[arg-type]
            lbfgs=replace(self.lbfgs, objective=loss),
        )

    def continuing(self, state: SolverState, log: Log) -> Course:
        """Return a copy for a state and its history: L-BFGS makes every epoch that sweeps left.

        Sweeps leave epochs if they end early because no step lowers the loss, or in a run that is continued with more
        epochs, which would have begun with more sweeps; it does not go back to them.
        """
        by_themselves = isinstance(self.sweeps, BatchEngine) or self.sweeps.held_out is not None
        if not isinstance(state, LbfgsState) or by_themselves:
            return self
        return replace(self, lbfgs=replace(self.lbfgs, epochs=self.epochs - log.spared - log.phases.count("sweep")))

    def losses_of(self, groups: tuple[IndexArray, ...], vector: Any) -> tuple[float, ...]:
        """Loss per pattern of each group (n,) of patterns, under the parameters ``vector`` (parameters,)."""
        losses = self.sweeps.objective.losses(vector, groups)
        return tuple(loss / len(group) for loss, group in zip(losses, groups, strict=True))

    @staticmethod
    def epoch_between(before: SolverState, after: SolverState) -> Phase | None:
        """Kind of the epoch that ended between two states; None if none ended."""
        if isinstance(after, LbfgsState) != isinstance(before, LbfgsState) or len(after.losses) <= len(before.losses):
            return None
        return "lbfgs" if isinstance(after, LbfgsState) else "sweep"

    def problem_of(self, state: SolverState, epochs: int, *, stopped: bool) -> str:
        """Why a run must not end in this state after ``epochs`` epochs, in words; empty if it may."""
        nothing_done = not stopped and not epochs and bool(self.sweeps.sweeps)
        if isinstance(state, LbfgsState):
            if not math.isfinite(state.loss):
                return "the loss is not finite"
            return DIVERGED if nothing_done else ""
        if isinstance(self.sweeps, BatchEngine) and self.sweeps.failed(state):
            return "the loss is not finite: use smaller steps (sweep_step, probe_step; the rates of adam)"
        return DIVERGED if nothing_done else ""

    def remark(self, before: SolverState, after: SolverState) -> str:
        """Words on a step that the user should know of; empty for almost all."""
        none_helped = isinstance(before, SweepState) and not before.sweep and isinstance(after, LbfgsState)
        return NO_SWEEP if none_helped and self.sweeps.sweeps else ""

    def finished(self, state: SolverState) -> bool:
        """Whether there is nothing left to do."""
        if isinstance(state, LbfgsState):
            return self.lbfgs.finished(state)
        return self.sweeps.finished(state) and self.lbfgs.epochs == 0

    def advanced(self, state: SolverState) -> tuple[SolverState, float]:
        """Run one batch, one L-BFGS epoch or the switch between the two; also return the passes over the data."""
        if isinstance(state, LbfgsState):
            after = self.lbfgs.step(state)
            return after, after.evaluations - state.evaluations
        if self.sweeps.finished(state):
            return self.lbfgs.init(state.vector), 1
        return self.sweeps.step(state), 1 / self.sweeps.batches


def _held_out(count: int, settings: SolverSettings) -> tuple[IndexArray | None, IndexArray | None]:
    """Patterns to sweep over and patterns to hold out; (None, None) unless sweeps stop early, or for one pattern."""
    if not settings.early_stop or count < 2:
        return None, None
    order = np.random.default_rng(settings.seed).permutation(count)
    held_count = max(1, int(HELD_OUT_SHARE * count))
    return np.sort(order[held_count:]), np.sort(order[:held_count])
