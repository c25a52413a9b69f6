"""A trial of settings: some sweeps over part of a scan, judged after each one by data they were not fitted to.

``held_out`` measures how well held-out patterns are predicted, ``halves`` how closely two halves of the patterns (a
chessboard) lead to the same object. Neither improves when noise is fitted, unlike the loss of the swept patterns.
Penalties that a preset adds to its loss are not part of either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from enum import StrEnum

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.ring_correlation import faded
from ptylive.engine.refine.solvers.sweeps import Sweeps
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.validation.trial_size import LEAST_PATTERNS
from ptylive.engine.refine.validation.validation import scanned_phase
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset import Preset

TILES = 4
"""Number of tiles along each axis of the scan in which halves are compared; their scatter gives the uncertainty."""
FLAT = 1e-30


class Judge(StrEnum):
    """Criterion of a trial; for both, lower is better."""

    HELD_OUT = "held-out"
    """Loss of the held-out patterns."""
    HALVES = "halves"
    """1 - correlation of the objects that two halves of the patterns lead to."""


OnSweep = Callable[[int, tuple[float, ...]], object]
"""Receives the number of sweeps done and the value of each group of patterns (or tile); may raise to end the trial."""


def check_enough(dataset: Dataset) -> None:
    """Raise RefinementError if there are too few patterns for a trial."""
    if len(dataset.patterns) < LEAST_PATTERNS:
        raise RefinementError(f"{len(dataset.patterns)} patterns are too few for trials", f"take {LEAST_PATTERNS}")


def settings_trial(
    dataset: Dataset, preset: Preset, sweeps: int, context: TrialContext, on_sweep: OnSweep, *, judge: Judge, split: int
) -> None:
    """Sweep ``sweeps`` times over a data set, reporting after each sweep; deterministic for the same input.

    ``split``: another number holds other patterns out (``Judge.HELD_OUT``). Raises RefinementError if there are too few
    patterns, or if no step lowers the loss; MetadataError for missing optics.
    """
    check_enough(dataset)
    trial = Trial.of(dataset, preset, context, split=split)
    with closing(open_backend(context.backend, trial.problem.multislice, context.threads)) as backend:
        if judge is Judge.HALVES:
            _judged_halves(trial, backend, dataset, sweeps, context, on_sweep)
        else:
            _judged_held_out(trial, backend, sweeps, context, on_sweep)


def _judged_held_out(
    trial: Trial, backend: MultisliceBackend, sweeps: int, context: TrialContext, on_sweep: OnSweep
) -> None:
    course = _Course(trial.solver(backend, sweeps), trial)
    plain = replace(trial.objective(backend), terms=())
    for sweep in range(1, sweeps + 1):
        course.advance(sweep, context)
        on_sweep(sweep, _finite(trial.held_out_losses(plain, course.state.vector)))


def _judged_halves(
    trial: Trial, backend: MultisliceBackend, dataset: Dataset, sweeps: int, context: TrialContext, on_sweep: OnSweep
) -> None:
    rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
    halves = [np.flatnonzero((rows + columns) % 2 == parity) for parity in (0, 1)]
    courses = []
    for half in halves:
        half_trial = replace(trial, swept=half)
        courses.append(_Course(half_trial.solver(backend, sweeps), half_trial))
    for sweep in range(1, sweeps + 1):
        phases = []
        for course in courses:
            course.advance(sweep, context)
            phases.append(scanned_phase(trial.problem, dataset, backend.to_numpy(course.state.vector)))
        on_sweep(sweep, _finite(disagreement(phases[0], phases[1])))


class _Course:
    """Sweeps in progress."""

    def __init__(self, solver: Sweeps, trial: Trial) -> None:
        self.solver = solver
        self.state = solver.init(solver.objective.xp.asarray(trial.problem.start))

    def advance(self, sweep: int, context: TrialContext) -> None:
        """Continue until ``sweep`` sweeps are done. Raises RefinementError if that is impossible."""
        while self.state.sweep < sweep:
            if self.solver.finished(self.state):
                raise RefinementError("diverged: no step lowers the loss")
            context.pause()
            self.state = self.solver.step(self.state)


def disagreement(first: DoubleArray, second: DoubleArray) -> tuple[float, ...]:
    """1 - correlation of two phases (rows, cols), in tiles, after removing ramps and fading out borders.

    Each tile counts by its contribution to the correlation of the whole, so that the mean of all is 1 - that
    correlation.
    """
    faded_first, faded_second = faded(first), faded(second)
    size = math.sqrt(float((faded_first**2).sum() * (faded_second**2).sum()))
    tiles = [
        (a * b).sum()
        for rows in zip(np.array_split(faded_first, TILES, 0), np.array_split(faded_second, TILES, 0), strict=True)
        for a, b in zip(*(np.array_split(row, TILES, 1) for row in rows), strict=True)
    ]
    return tuple(1 - len(tiles) * float(tile) / max(size, FLAT) for tile in tiles)


def _finite(groups: tuple[float, ...]) -> tuple[float, ...]:
    if not all(math.isfinite(value) for value in groups):
        raise RefinementError("diverged: the loss is not finite")
    return groups
