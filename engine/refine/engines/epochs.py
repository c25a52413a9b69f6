"""Run of a named engine: epochs of batches, each a step of its rule, none of which is ever undone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ptylive.engine.refine.engines.batches import Batches
from ptylive.engine.refine.engines.rule import Batch, EngineRule
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import MOST_HALVINGS, SweepState


@dataclass(frozen=True)
class BatchEngine:
    """The solver; it holds settings only. Its states are those of sweeps."""

    objective: Objective
    sweeps: int
    """Number of epochs."""
    probe_sweeps: int
    """Number of first epochs that move only the probe."""
    batch_size: int
    rule: EngineRule
    groups: Batches

    @property
    def count(self) -> int:
        """Number of patterns in an epoch."""
        return self.objective.count

    @property
    def batches(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(self.count / self.batch_size)

    def init(self, vector: Any) -> SweepState:
        """The state before the first batch."""
        return SweepState(vector)

    def finished(self, state: SweepState) -> bool:
        """Whether all epochs are done, or one of them has failed."""
        return state.sweep >= self.sweeps or self.failed(state)

    @staticmethod
    def failed(state: SweepState) -> bool:
        """Whether a loss was not finite."""
        return state.halvings > MOST_HALVINGS

    def step(self, state: SweepState) -> SweepState:
        """Process one batch."""
        objective = self.objective
        if state.sweep < self.probe_sweeps:
            objective = objective.moving(move_object=False, move_others=False)
        indices = self.groups.of(state.sweep, self.batch_size, objective.chosen)[state.batch]
        at = objective.evaluate(state.vector, indices)
        loss = at.loss
        moved = self.rule.stepped(Batch(objective, state.vector, indices, at), state.memory, state.steps)
        next_state = replace(
            state,
            vector=objective.project(moved.vector),
            start=state.vector if state.batch == 0 else state.start,
            batch=state.batch + 1,
            running_loss=state.running_loss + loss,
            memory=moved.memory,
            steps=state.steps + 1,
        )
        return next_state if next_state.batch < self.batches else self._end_epoch(next_state)

    def _end_epoch(self, state: SweepState) -> SweepState:
        """Finish an epoch after its last batch; values that are not finite end the run at the start of the epoch."""
        loss = float(state.running_loss) / self.count
        if not (math.isfinite(loss) and self.objective.is_finite(state.vector)):
            restarted = replace(state, vector=state.start, start=None, batch=0, running_loss=0.0)
            return replace(restarted, halvings=MOST_HALVINGS + 1)
        losses = (*state.losses, loss)
        return replace(state, sweep=state.sweep + 1, batch=0, running_loss=0.0, start=None, losses=losses)
