"""Short trial refinements, judged by the loss on held-out patterns."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.measurement import Observation
from ptylive.engine.refine.problem.setup import Setup, prepare
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import Sweeps, SweepState
from ptylive.schema.model import Array, IndexArray
from ptylive.schema.preset import Preset

HELD_OUT = 8
"""One pattern in so many is kept from the refinement."""
BATCHES, SMALLEST_BATCH = 16, 8
"""Batches in a sweep at least, where there are patterns enough."""
LEAST_BATCHES = 96
"""Batches in a trial at least: an object that has hardly moved yet biases the minimum."""
MOST_PATTERNS = 4096
"""Trials look at so many patterns in the middle of the scan at most."""


def _no_pause() -> None:
    """Go on."""


@dataclass(frozen=True)
class TrialContext:
    """Backend, start and interruption of trial runs."""

    backend: str = "auto"
    threads: int = 1
    start: StartGuess | None = None
    pause: Callable[[], None] = _no_pause
    """Called between trials; it may raise to abandon them."""


@dataclass(frozen=True)
class HeldOutLoss:
    """Loss per pattern on two disjoint halves of the patterns that were held out."""

    halves: tuple[float, float]

    @property
    def mean(self) -> float:
        """Over both halves."""
        return (self.halves[0] + self.halves[1]) / 2


def held_out_loss(
    dataset: Dataset, preset: Preset, sweeps: int, context: TrialContext, seen: Observation | None = None
) -> HeldOutLoss:
    """Sweep over most of the patterns, compare with the others. Same data and preset give the same numbers.

    ``seen``: as of ``prepare``.
    """
    setup = prepare(dataset, preset.model_copy(update={"refine_drift": False}), context.start, seen)
    order = np.random.default_rng(0).permutation(setup.problem.count)
    held = order[: max(2, setup.problem.count // HELD_OUT)]
    with closing(open_backend(context.backend, setup.problem, context.threads)) as backend:
        vector = swept(setup, backend, preset, np.sort(order[len(held) :]), sweeps)
        objective = _objective(setup, backend, preset)
        losses = [float(objective.evaluate(vector, np.sort(half)).loss) / len(half) for half in np.array_split(held, 2)]
    return HeldOutLoss((losses[0], losses[1]))


def swept(setup: Setup, backend: MultisliceBackend, preset: Preset, patterns: IndexArray, sweeps: int) -> Any:
    """Parameters after so many sweeps over ``patterns`` (more where these are few) from the start of ``setup``."""
    strategy = setup.strategy
    batch = min(strategy.batch_size, max(SMALLEST_BATCH, len(patterns) // BATCHES))
    sweeps = max(sweeps, math.ceil(LEAST_BATCHES * batch / len(patterns)))
    solver = Sweeps(
        _objective(setup, backend, preset),
        sweeps,
        min(strategy.probe_sweeps, sweeps - 1),
        batch,
        strategy.sweep_step,
        strategy.probe_step,
        preset.seed,
        patterns,
    )
    state: SweepState = solver.init(backend.xp.asarray(setup.start))
    while not solver.finished(state):
        state = solver.step(state)
    return state.vector


def central_part(dataset: Dataset, most: int = MOST_PATTERNS) -> Dataset:
    """The patterns nearest to the middle of the scan, in a square; everything where there are few."""
    if len(dataset.patterns) <= most:
        return dataset
    away = np.abs(dataset.positions_A - np.median(dataset.positions_A, axis=0)).max(axis=1)
    return part_of(dataset, np.sort(np.argsort(away, kind="stable")[:most]))


def part_of(dataset: Dataset, chosen: Array) -> Dataset:
    """Some patterns of a data set with their positions."""
    return replace(
        dataset,
        patterns=dataset.patterns[chosen],
        point=dataset.point[chosen],
        positions_A=dataset.positions_A[chosen],
    )


def _objective(setup: Setup, backend: MultisliceBackend, preset: Preset) -> Objective:
    return Objective(
        backend,
        on_device(setup.layout, backend.xp),
        setup.problem.count,
        move_object=preset.update_obj,
        move_probe=preset.update_probe,
        curvature_scale=setup.strategy.curvature_scale,
        terms=on_device(setup.terms, backend.xp),
    )
