"""Definition of a named engine: a rule that makes a step from each batch, and its published settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.engine.refine.solvers.loss_function import Evaluation
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.model import IndexArray
from ptylive.schema.preset.solver import SolverSettings


@dataclass(frozen=True)
class PublishedSettings:
    """The values of ``auto`` for an engine."""

    epochs: int
    batch_size: int
    object_step: float = 1.0
    probe_step: float = 1.0


class RuleInput(NamedTuple):
    """Input from which a rule is created."""

    problem: MultisliceProblem
    settings: SolverSettings
    object_step: float
    probe_step: float


class Batch(NamedTuple):
    """Input of a step."""

    objective: Objective
    vector: Any
    """(n,) parameters."""
    indices: IndexArray
    """Patterns of the batch."""
    at: Evaluation
    """Loss and gradient of these patterns at ``vector``."""


class Step(NamedTuple):
    """Result of a step."""

    vector: Any
    """(n,) parameters, before the objective restores the bounds."""
    memory: Any = None
    """(k, n) state that the rule keeps for the next batch; None if it keeps nothing."""


class EngineRule(Protocol):
    """A published engine; small and stateless: the state it keeps between batches is passed to it."""

    def stepped(self, batch: Batch, memory: Any, count: int) -> Step:
        """Return the step of a batch. ``memory``: from the last step (None: first step); ``count``: previous steps."""
        ...
