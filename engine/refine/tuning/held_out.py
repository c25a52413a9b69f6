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
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.engine.refine.problem.prepare import Problem, by_likelihood, prepare
from ptylive.engine.refine.results.gain import CERTAIN, Gain
from ptylive.engine.refine.solvers.loss_function import PatternLoss
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import Sweeps
from ptylive.schema.model import IndexArray
from ptylive.schema.preset import Preset

HELD_OUT = 8
"""One pattern in eight is kept from the refinement."""
BATCHES, SMALLEST_BATCH = 32, 8
"""Batches in a sweep at least, where there are patterns enough: an object comes as far by their number."""
LEAST_BATCHES = 96
"""Batches in a trial at least: an object that has hardly moved yet biases the minimum."""
GROUPS = 16
"""Groups of held-out patterns, between which differences scatter."""
MOST_PATTERNS = 4096
"""Patterns in the middle of the scan that trials look at, at most."""


def _no_pause() -> None:
    """Go on."""


def _never(_loss: HeldOutLoss) -> bool:
    """Go on to the end."""
    return False


def _no_words(_words: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class TrialContext:
    """Backend, start and interruption of trial runs."""

    backend: str = "auto"
    threads: int = 1
    start: StartGuess | None = None
    pause: Callable[[], None] = _no_pause
    """Called between trials; it may raise to abandon them."""
    tell: Callable[[str], None] = _no_words
    """Told what is tried."""

    def before(self, trial: str) -> None:
        """To be called before each trial, with a word of it."""
        self.pause()
        self.tell(trial)


@dataclass(frozen=True)
class HeldOutLoss:
    """Loss per pattern on disjoint groups of the patterns that were held out, each from all over the scan."""

    groups: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over all groups."""
        return float(np.mean(self.groups))

    @property
    def halves(self) -> tuple[float, float]:
        """Of every other group, and of the others."""
        return float(np.mean(self.groups[::2])), float(np.mean(self.groups[1::2]))


@dataclass(frozen=True)
class Course:
    """The loss of held-out patterns after some sweeps, and after twice as many."""

    early: HeldOutLoss
    late: HeldOutLoss | None = None
    """None: the early one was enough."""

    def early_gain(self, over: Course) -> Gain:
        """By how much this predicts better after the first sweeps."""
        return Gain.over(over.early.groups, self.early.groups)

    def lasting_gain(self, over: Course) -> Gain:
        """By how much this predicts better in the end: of a difference that falls as 1 / sweeps, what remains.

        What is extrapolated counts as two standard deviations: it may as well fall twice as far.
        """
        if self.late is None or over.late is None:
            return self.early_gain(over)
        early, late = (
            np.subtract(others.groups, own.groups) for own, others in ((self.early, over.early), (self.late, over.late))
        )
        gain = Gain.of(2 * late - early, over.late.mean)
        beyond = abs(float(np.mean(late - early)) / over.late.mean)
        return Gain(gain.share, math.hypot(gain.deviation, beyond / CERTAIN))


@dataclass(frozen=True)
class Likelihoods:
    """Minus the logarithm of the likelihood of patterns held out, per pattern of each group."""

    everywhere: tuple[float, ...]
    """Of all pixels that are measured."""
    bright: tuple[float, ...]
    """Of the bright field."""

    def __add__(self, others: Likelihoods) -> Likelihoods:
        """With those of other groups."""
        return Likelihoods(self.everywhere + others.everywhere, self.bright + others.bright)


def held_out_loss(
    dataset: Dataset,
    preset: Preset,
    sweeps: int,
    context: TrialContext,
    measured: Measurement | None = None,
    batches: int = BATCHES,
) -> HeldOutLoss:
    """Sweep over most of the patterns, more often where these are few, and compare with the others.

    Same data and preset give the same numbers. ``measured``: as of ``prepare``; ``batches``: in a sweep, at least.
    """
    trial = replace(Trial.of(dataset, preset, context, measured), batches=batches)
    return trial.losses((trial.enough(sweeps),), context)[0]


def held_out_course(
    dataset: Dataset,
    preset: Preset,
    sweeps: int,
    context: TrialContext,
    measured: Measurement | None = None,
    until: Callable[[HeldOutLoss], bool] = _never,
) -> Course:
    """The same after ``sweeps`` sweeps, and after twice as many unless the first are enough."""
    early, *late = Trial.of(dataset, preset, context, measured).losses((sweeps, 2 * sweeps), context, until)
    return Course(early, *late)


def swept(problem: Problem, backend: MultisliceBackend, preset: Preset, patterns: IndexArray, sweeps: int) -> Any:
    """Parameters after ``sweeps`` sweeps over ``patterns`` (more where these are few) from the start of ``problem``."""
    trial = Trial(problem, preset, patterns, patterns[:0])
    solver = trial.solver(backend, trial.enough(sweeps))
    state = solver.init(backend.xp.asarray(problem.start))
    while not solver.finished(state):
        state = solver.step(state)
    return state.vector


@dataclass(frozen=True)
class Trial:
    """A problem, and which of its patterns are swept over and which are held out."""

    problem: Problem
    preset: Preset
    swept: IndexArray
    held: IndexArray
    batches: int = BATCHES
    """In a sweep, at least, where there are patterns enough."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        preset: Preset,
        context: TrialContext,
        measured: Measurement | None = None,
        split: int = 0,
    ) -> Trial:
        """Of a data set under a preset; ``split``: another number holds other patterns out."""
        problem = prepare(dataset, preset.model_copy(update={"refine_drift": False}), context.start, measured)
        order = np.random.default_rng(split).permutation(problem.multislice.count)
        few = max(2, problem.multislice.count // HELD_OUT)
        return cls(problem, preset, np.sort(order[few:]), order[:few])

    @property
    def batch(self) -> int:
        """Patterns in a batch."""
        return min(self.problem.strategy.batch_size, max(SMALLEST_BATCH, len(self.swept) // self.batches))

    def enough(self, sweeps: int) -> int:
        """``sweeps``, or more where they would be of too few batches."""
        return max(sweeps, math.ceil(LEAST_BATCHES * self.batch / len(self.swept)))

    def losses(
        self, after: tuple[int, ...], context: TrialContext, until: Callable[[HeldOutLoss], bool] = _never
    ) -> tuple[HeldOutLoss, ...]:
        """Loss of the patterns held out after each number of sweeps, in increasing order, ``until`` one is enough."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            solver, found = self.solver(backend, after[-1]), []
            state = solver.init(backend.xp.asarray(self.problem.start))
            for sweeps in after:
                while state.sweep < sweeps and not solver.finished(state):
                    state = solver.step(state)
                found.append(HeldOutLoss(self.judged(solver.objective, state.vector)))
                if until(found[-1]):
                    break
        return tuple(found)

    def likelihoods(self, context: TrialContext) -> Likelihoods:
        """Of the patterns held out, after the sweeps of the problem, by one measure whatever was refined."""
        strategy = self.problem.strategy
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            solver = self.solver(backend, self.enough(strategy.sweeps))
            state = solver.init(backend.xp.asarray(self.problem.start))
            while not solver.finished(state):
                state = solver.step(state)
        found = []
        for bright_field_only in (False, True):
            model = by_likelihood(self.problem, bright_field_only=bright_field_only)
            with closing(open_backend(context.backend, model, context.threads)) as backend:
                found.append(self.judged(self.objective(backend), state.vector))
        return Likelihoods(*found)

    def judged(self, objective: PatternLoss, vector: Any) -> tuple[float, ...]:
        """Loss per pattern on each group of the patterns held out."""
        groups = [np.sort(group) for group in np.array_split(self.held, min(GROUPS, len(self.held)))]
        return tuple(float(objective.evaluate(vector, group).loss) / len(group) for group in groups)

    def objective(self, backend: MultisliceBackend) -> Objective:
        """The loss that is refined."""
        return Objective(
            backend,
            on_device(self.problem.layout, backend.xp),
            self.problem.multislice.count,
            move_object=self.preset.refined.update_obj,
            move_probe=self.preset.refined.update_probe,
            curvature_scale=self.problem.strategy.curvature_scale,
            terms=on_device(self.problem.terms, backend.xp),
        )

    def solver(self, backend: MultisliceBackend, sweeps: int) -> Sweeps:
        """Sweeps over the patterns that are not held out."""
        strategy = self.problem.strategy
        return Sweeps(
            self.objective(backend),
            sweeps,
            min(strategy.probe_sweeps, sweeps - 1),
            self.batch,
            strategy.sweep_step,
            strategy.probe_step,
            self.preset.solver.seed,
            self.swept,
        )


def central_part(dataset: Dataset, most: int = MOST_PATTERNS) -> Dataset:
    """The patterns nearest to the middle of the scan, in a square; everything where there are few."""
    return dataset if len(dataset.patterns) <= most else dataset.part(central(dataset, most))


def central(dataset: Dataset, most: int) -> IndexArray:
    """Numbers of the patterns nearest to the middle of the scan, in a square."""
    away = np.abs(dataset.positions_A - np.median(dataset.positions_A, axis=0)).max(axis=1)
    return np.sort(np.argsort(away, kind="stable")[:most])
