"""What a named engine is: a rule that makes a step of each batch, and the settings that it was published with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ptylive.engine.backend.multislice.problem import MultisliceProblem
from ptylive.engine.refine.solvers.loss_function import Evaluation
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.model import IndexArray
from ptylive.schema.preset.solver import SolverSettings


@dataclass(frozen=True)
class Published:
    """What ``auto`` stands for under an engine."""

    epochs: int
    batch_size: int
    object_step: float = 1.0
    probe_step: float = 1.0


class Given(NamedTuple):
    """What a rule is made from."""

    problem: MultisliceProblem
    settings: SolverSettings
    object_step: float
    probe_step: float


class Batch(NamedTuple):
    """What a step is made of."""

    objective: Objective
    vector: Any
    """(n,) parameters."""
    indices: IndexArray
    """Its patterns."""
    at: Evaluation
    """Loss and gradient of its patterns at ``vector``."""


class Step(NamedTuple):
    """Where a step leads."""

    vector: Any
    """(n,) parameters, which the objective has not brought back into bounds yet."""
    memory: Any = None
    """(k, n) what the rule keeps for the next batch; None where it keeps nothing."""


class EngineRule(Protocol):
    """A published engine; small and without state: what it keeps between batches it is handed."""

    def stepped(self, batch: Batch, memory: Any, count: int) -> Step:
        """The step of a batch. ``memory``: of the last step (None: there was none); ``count``: steps before this."""
        ...
