"""Short trial refinements, judged by the loss on held-out patterns."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
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
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.solvers.loss_function import PatternLoss
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.solvers.sweeps import FULL_SWEEPS, Sweeps, SweepState
from ptylive.engine.refine.tuning.measured_once import MeasuredOnce, central
from ptylive.engine.refine.tuning.warm_start import WarmStart
from ptylive.schema.model import Array, IndexArray
from ptylive.schema.preset import Preset

HELD_OUT = 8
"""One pattern in eight is kept from the refinement."""
BATCHES, SMALLEST_BATCH = 32, 8
"""Batches in a sweep at least, where there are patterns enough: an object comes as far by their number."""
LEAST_BATCHES = 96
"""Batches in a trial at least: an object that has hardly moved yet biases the minimum."""
SEED = 0
"""Of the order of the patterns in every trial, whatever the preset's: a decision must not depend on it."""
GROUPS = 16
"""Groups of held-out patterns, between which differences scatter."""
MOST_PATTERNS = 4096
"""Patterns in the middle of the scan that trials look at, at most."""


def _no_pause() -> None:
    """Go on."""


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
    begun: WarmStart | None = None
    """What every trial begins from, on the positions that it was found on."""
    seen: MeasuredOnce = field(default_factory=MeasuredOnce, compare=False)
    """Patterns that were laid out before."""
    kept: dict[str, KeptTrial] = field(default_factory=dict, compare=False)
    """Trials that others may go on with."""

    def forget(self) -> None:
        """Give back what was kept for trials to come."""
        self.seen.forget()
        self.kept.clear()

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


@dataclass(frozen=True)
class KeptTrial:
    """A trial that was made of some patterns, as far as it went."""

    patterns: Array
    trial: Trial
    state: SweepState

    def fits(self, trial: Trial, patterns: Array) -> bool:
        """Whether that trial of these patterns would do the same."""
        own, other = self.trial.problem, trial.problem
        return (
            self.patterns is patterns
            and (self.trial.batches, self.trial.full_sweeps) == (trial.batches, trial.full_sweeps)
            and replace(own.strategy, reason="", data_term="") == replace(other.strategy, reason="", data_term="")
            and np.array_equal(self.trial.held, trial.held)
            and np.array_equal(own.positions_A, other.positions_A)
            and np.array_equal(own.start, other.start)
        )


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
    sweeps = trial.enough(sweeps)
    return trial.continued(None, sweeps, sweeps, context)[1]


def swept(problem: Problem, backend: MultisliceBackend, preset: Preset, patterns: IndexArray, sweeps: int) -> Any:
    """Parameters after ``sweeps`` sweeps over ``patterns`` (more where these are few) from the start of ``problem``."""
    return Trial(problem, preset, patterns, patterns[:0]).swept_over(backend, sweeps)


@dataclass(frozen=True)
class Trial:
    """A problem, and which of its patterns are swept over and which are held out."""

    problem: Problem
    preset: Preset
    swept: IndexArray
    held: IndexArray
    batches: int = BATCHES
    """In a sweep, at least, where there are patterns enough."""
    full_sweeps: int = FULL_SWEEPS
    """Sweeps at full steps; those after them leave less and less of their own scatter."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        preset: Preset,
        context: TrialContext,
        measured: Measurement | None = None,
        held_out: int = HELD_OUT,
        split: int = 0,
    ) -> Trial:
        """Of a data set under a preset; one pattern in ``held_out`` is, others by another number ``split``."""
        plain = preset.model_copy(update={"refine_drift": False})
        measured = context.seen.measure(dataset, plain) if measured is None else measured
        problem = prepare(dataset, plain, context.start, measured)
        problem = problem if context.begun is None else context.begun.applied(problem)
        order = np.random.default_rng(split).permutation(problem.multislice.count)
        few = max(2, problem.multislice.count // held_out)
        return cls(problem, preset, np.sort(order[few:]), order[:few])

    @property
    def batch(self) -> int:
        """Patterns in a batch."""
        return min(self.problem.strategy.trial_batch, max(SMALLEST_BATCH, len(self.swept) // self.batches))

    def enough(self, sweeps: int) -> int:
        """``sweeps``, or more where they would be of too few batches."""
        return max(sweeps, math.ceil(LEAST_BATCHES * self.batch / len(self.swept)))

    def continued(
        self, state: SweepState | None, sweeps: int, most: int, context: TrialContext
    ) -> tuple[SweepState, HeldOutLoss]:
        """The state after ``sweeps`` of ``most``, from an earlier one (None: the start), and its loss."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            solver = self.solver(backend, most)
            state = self._after(solver, backend, state, sweeps)
            return state, HeldOutLoss(self.judged(solver.objective, state.vector))

    def continued_likelihoods(
        self, state: SweepState | None, sweeps: int, context: TrialContext
    ) -> tuple[SweepState, Likelihoods]:
        """The state after ``sweeps`` of those of the problem, from an earlier one, and what it predicts."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            state = self._after(self.solver(backend, self.all_sweeps), backend, state, sweeps)
        return state, Likelihoods(
            *(self._likelihood(state.vector, context, bright_field_only=one) for one in (False, True))
        )

    def likelihood(self, state: SweepState | None, context: TrialContext) -> tuple[float, ...]:
        """Minus its logarithm, of all pixels, after all sweeps of the problem, from an earlier state."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            state = self._after(self.solver(backend, self.all_sweeps), backend, state, self.all_sweeps)
        return self._likelihood(state.vector, context, bright_field_only=False)

    def _likelihood(self, vector: Any, context: TrialContext, *, bright_field_only: bool) -> tuple[float, ...]:
        """By one measure whatever was refined."""
        model = by_likelihood(self.problem, bright_field_only=bright_field_only)
        with closing(open_backend(context.backend, model, context.threads)) as backend:
            return self.judged(self.objective(backend), vector)

    @property
    def all_sweeps(self) -> int:
        """Those of the problem, or more where they would be of too few batches."""
        return self.enough(self.problem.strategy.sweeps)

    def _after(self, solver: Sweeps, backend: MultisliceBackend, state: SweepState | None, sweeps: int) -> SweepState:
        state = solver.init(backend.xp.asarray(self.problem.start)) if state is None else state
        while state.sweep < sweeps and not solver.finished(state):
            state = solver.step(state)
        return state

    def swept_over(self, backend: MultisliceBackend, sweeps: int) -> Any:
        """Parameters after ``sweeps`` sweeps from the start, or more where they would be of too few batches."""
        sweeps = self.enough(sweeps)
        return self._after(self.solver(backend, sweeps), backend, None, sweeps).vector

    def descended(self, epochs: Sequence[int], context: TrialContext) -> list[HeldOutLoss]:
        """The losses after the sweeps of the problem, and then after these epochs of L-BFGS (rising numbers)."""
        return list(self.descending(epochs, context))

    def descending(self, epochs: Sequence[int], context: TrialContext) -> Generator[HeldOutLoss, None, None]:
        """The same, one after the other: whoever knows enough may close it."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            loss = self.objective(backend)
            for vector in self._descending(loss, epochs, context):
                yield HeldOutLoss(self.judged(loss, vector))

    def descended_likelihoods(
        self, epochs: Sequence[int], context: TrialContext
    ) -> Generator[tuple[float, ...], None, None]:
        """Minus the logarithms of the likelihood of all pixels after the same, one after the other."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            for vector in self._descending(self.objective(backend), epochs, context):
                yield self._likelihood(vector, context, bright_field_only=False)

    def _descending(self, loss: Objective, epochs: Sequence[int], context: TrialContext) -> Iterator[Any]:
        """Parameters after the sweeps of the problem and these epochs."""
        strategy = self.problem.strategy
        solver = Lbfgs(
            loss.of_patterns(self.swept),
            max(epochs),
            self.preset.solver.hist_length,
            Descent.of(self.preset.solver),
            strategy.probe_step / strategy.trial_step,
            strategy.anchor,
        )
        state = solver.init(self.swept_over(loss.backend, strategy.sweeps))
        for most in epochs:
            while len(state.losses) < most and not solver.finished(state):
                state = solver.step(state)
            context.pause()
            yield state.vector

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
            strategy.trial_step,
            strategy.probe_step,
            SEED,
            self.swept,
            full_sweeps=self.full_sweeps,
            rows=self.problem.multislice.corners[:, 0],
        )


def central_part(dataset: Dataset, most: int = MOST_PATTERNS) -> Dataset:
    """The patterns nearest to the middle of the scan, in a square; everything where there are few."""
    return dataset if len(dataset.patterns) <= most else dataset.part(central(dataset, most))
