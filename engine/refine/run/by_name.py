"""The engine that the settings name, for a prepared problem."""

from __future__ import annotations

import numpy as np

from ptylive.engine.backend.multislice.problem import CoefficientTermKind
from ptylive.engine.refine.engines.batches import Batches
from ptylive.engine.refine.engines.epochs import BatchEngine
from ptylive.engine.refine.engines.named import rule_of
from ptylive.engine.refine.engines.rule import RuleInput
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.schema.errors import RefinementError
from ptylive.schema.preset.solver import SolverSettings


def engine_of(problem: Problem, settings: SolverSettings, objective: Objective) -> BatchEngine:
    """Build the engine from settings and strategy. Raises RefinementError if it is not defined for the data."""
    strategy, multislice = problem.strategy, problem.multislice
    if settings.optimizer == "lsq_ml" and isinstance(strategy.kind, CoefficientTermKind):
        raise RefinementError(
            "optimizer=lsq_ml needs patterns, and the recording holds coefficients", "use optimizer=epie or adam"
        )
    given = RuleInput(multislice, settings, strategy.sweep_step, strategy.probe_step)
    positions_px = np.asarray(multislice.corners, dtype=np.float64) + multislice.shifts_px
    return BatchEngine(
        objective,
        strategy.epochs,
        strategy.probe_sweeps,
        strategy.batch_size,
        rule_of(given, objective.backend),
        Batches(settings.batch_choice, positions_px, settings.seed),
    )
