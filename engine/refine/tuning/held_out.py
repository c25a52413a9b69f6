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
from ptylive.engine.refine.data.selection import central
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
from ptylive.engine.refine.tuning.measured_once import MeasuredOnce
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema.errors import RefinementError
from ptylive.schema.model import Array, IndexArray
from ptylive.schema.preset import Preset

HELD_OUT = 8
"""One pattern in eight is kept from the refinement."""
LEAST_TRIED = 3
"""Fewest patterns of a trial: one to refine, and two groups to hold out."""
BATCHES, SMALLEST_BATCH = 32, 8
"""Minimum number of batches in a sweep, given enough patterns: it determines how far a sweep moves the object."""
LEAST_BATCHES = 96
"""Minimum number of batches in a trial: an object that has hardly moved yet biases the minimum."""
SEED = 0
"""Seed for the order of the patterns in every trial, overriding the preset: decisions must not depend on it."""
GROUPS = 16
"""Groups of held-out patterns; the scatter between them gives the standard deviation of differences."""
MOST_PATTERNS = 4096
"""Maximum number of patterns in the middle of the scan that trials use."""


def _no_pause() -> None:
    """Continue without interruption."""


def _no_words(_words: str) -> None:
    """Discard the words."""


@dataclass(frozen=True)
class TrialContext:
    """Backend, start and interruption of trial runs."""

    backend: str = "auto"
    threads: int = 1
    start: StartGuess | None = None
    pause: Callable[[], None] = _no_pause
    """Called between trials; raise to abandon them."""
    tell: Callable[[str], None] = _no_words
    """Called with a description of the current trial."""
    warm_start: WarmStart | None = None
    """State that every trial starts from, at the positions it was found with."""
    cache: MeasuredOnce = field(default_factory=MeasuredOnce, compare=False)
    """Cache of data prepared earlier."""
    kept_trials: dict[str, KeptTrial] = field(default_factory=dict, compare=False)
    """Trials that others may continue."""

    def forget(self) -> None:
        """Release the memory of everything kept for later trials."""
        self.cache.forget()
        self.kept_trials.clear()

    def before(self, trial: str) -> None:
        """Call before each trial, with a short description of it."""
        self.pause()
        self.tell(trial)


@dataclass(frozen=True)
class HeldOutLoss:
    """Loss per pattern on disjoint groups of held-out patterns, each drawn from all over the scan."""

    groups: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over all groups."""
        return float(np.mean(self.groups))

    @property
    def halves(self) -> tuple[float, float]:
        """Mean over every other group, and over the remaining groups."""
        return float(np.mean(self.groups[::2])), float(np.mean(self.groups[1::2]))


@dataclass(frozen=True)
class LossCourse:
    """How the loss of held-out patterns falls in a trial: after some sweeps, and after twice as many."""

    early: HeldOutLoss
    late: HeldOutLoss | None = None
    """Loss after twice as many sweeps; None: the early loss was enough."""

    def early_gain(self, over: LossCourse) -> Gain:
        """By how much this predicts better after the first sweeps."""
        return Gain.over(over.early.groups, self.early.groups)

    def lasting_gain(self, over: LossCourse) -> Gain:
        """Gain extrapolated to the end of the run: the part that remains of a difference that falls as 1 / sweeps.

        The extrapolated part counts as two standard deviations: the difference may as well fall twice as far.
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
    """Negative log-likelihood of held-out patterns, per pattern of each group."""

    everywhere: tuple[float, ...]
    """Over all measured pixels."""
    bright: tuple[float, ...]
    """Over the bright field."""


@dataclass(frozen=True)
class KeptTrial:
    """A trial of certain patterns, as far as it was run."""

    patterns: Array
    trial: Trial
    state: SweepState

    def fits(self, trial: Trial, patterns: Array) -> bool:
        """Whether ``trial``, run on these patterns, would do the same."""
        own, other = self.trial.problem, trial.problem
        return (
            self.patterns is patterns
            and (self.trial.batches, self.trial.full_sweeps) == (trial.batches, trial.full_sweeps)
            and replace(own.strategy, reason="", data_term="") == replace(other.strategy, reason="", data_term="")
            and np.array_equal(self.trial.held_out, trial.held_out)
            and np.array_equal(own.positions_A, other.positions_A)
            and np.array_equal(own.start, other.start)
        )


def held_out_loss(
    dataset: Dataset,
    preset: Preset,
    sweeps: int,
    context: TrialContext,
    batches: int = BATCHES,
    split: int = 0,
) -> HeldOutLoss:
    """Sweep over most of the patterns, more often if there are few, and evaluate the loss of the others.

    Deterministic for given data and preset. ``batches``: minimum number in a sweep; ``split``: selects which patterns
    are held out.
    """
    trial = replace(Trial.of(dataset, preset, context, split=split), batches=batches)
    sweeps = trial.enough_sweeps(sweeps)
    return trial.sweep_to(None, sweeps, sweeps, context)[1]


def swept_parameters(
    problem: Problem, backend: MultisliceBackend, preset: Preset, patterns: IndexArray, sweeps: int
) -> Any:
    """Parameters after ``sweeps`` sweeps over ``patterns`` (more if these are few) from the start of ``problem``."""
    return Trial(problem, preset, patterns, patterns[:0]).parameters_after(backend, sweeps)


@dataclass(frozen=True)
class Trial:
    """A problem, with the patterns that are swept over and those that are held out."""

    problem: Problem
    preset: Preset
    swept: IndexArray
    held_out: IndexArray
    batches: int = BATCHES
    """Minimum number of batches in a sweep, if there are enough patterns."""
    full_sweeps: int = FULL_SWEEPS
    """Sweeps at full step; later sweeps leave less and less of their own scatter."""

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
        """Trial of a data set under a preset, one pattern in ``held_out`` held out; ``split`` selects which ones.

        Raises RefinementError for fewer patterns than ``LEAST_TRIED``.
        """
        if (count := len(dataset.patterns)) < LEAST_TRIED:
            raise RefinementError(
                f"short trials need {LEAST_TRIED} patterns, to refine some and hold out others, and there are {count}",
                "state the values that trials would find",
            )
        plain = preset.model_copy(update={"refine_drift": False})
        measured = context.cache.measure(dataset, plain) if measured is None else measured
        problem = prepare(dataset, plain, context.start, measured)
        problem = problem if context.warm_start is None else context.warm_start.applied(problem)
        order = np.random.default_rng(split).permutation(problem.multislice.count)
        few = max(2, problem.multislice.count // held_out)
        return cls(problem, preset, np.sort(order[few:]), order[:few])

    @property
    def batch(self) -> int:
        """Number of patterns in a batch."""
        return min(self.problem.strategy.trial_batch, max(SMALLEST_BATCH, len(self.swept) // self.batches))

    def enough_sweeps(self, sweeps: int) -> int:
        """Return ``sweeps``, or more if they would contain too few batches."""
        return max(sweeps, math.ceil(LEAST_BATCHES * self.batch / len(self.swept)))

    def sweep_to(
        self, state: SweepState | None, sweeps: int, most: int, context: TrialContext
    ) -> tuple[SweepState, HeldOutLoss]:
        """Sweep on to number ``sweeps`` of ``most``, from an earlier state (None: the start); return state and loss."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            solver = self.solver(backend, most)
            state = self._after(solver, backend, state, sweeps)
            return state, HeldOutLoss(self.held_out_losses(solver.objective, state.vector))

    def likelihoods_after(
        self, state: SweepState | None, sweeps: int, context: TrialContext
    ) -> tuple[SweepState, Likelihoods]:
        """State after ``sweeps`` of the sweeps of the problem, from an earlier one, and its held-out likelihoods."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            state = self._after(self.solver(backend, self.all_sweeps), backend, state, sweeps)
        return state, Likelihoods(
            *(self._likelihood(state.vector, context, bright_field_only=bright_only) for bright_only in (False, True))
        )

    def likelihood(self, state: SweepState | None, context: TrialContext) -> tuple[float, ...]:
        """Negative log-likelihood over all pixels after all sweeps of the problem, from an earlier state."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            state = self._after(self.solver(backend, self.all_sweeps), backend, state, self.all_sweeps)
        return self._likelihood(state.vector, context, bright_field_only=False)

    def _likelihood(self, vector: Any, context: TrialContext, *, bright_field_only: bool) -> tuple[float, ...]:
        """Negative log-likelihood of held-out patterns, a common measure whatever loss was refined."""
        model = by_likelihood(self.problem, bright_field_only=bright_field_only)
        with closing(open_backend(context.backend, model, context.threads)) as backend:
            return self.held_out_losses(self.objective(backend), vector)

    @property
    def all_sweeps(self) -> int:
        """Number of sweeps of the problem, or more if they would contain too few batches."""
        return self.enough_sweeps(self.problem.strategy.sweeps)

    def _after(self, solver: Sweeps, backend: MultisliceBackend, state: SweepState | None, sweeps: int) -> SweepState:
        state = solver.init(backend.xp.asarray(self.problem.start)) if state is None else state
        while state.sweep < sweeps and not solver.finished(state):
            state = solver.step(state)
        return state

    def parameters_after(self, backend: MultisliceBackend, sweeps: int) -> Any:
        """Parameters after ``sweeps`` sweeps from the start, or more if they would contain too few batches."""
        sweeps = self.enough_sweeps(sweeps)
        return self._after(self.solver(backend, sweeps), backend, None, sweeps).vector

    def lbfgs_losses(
        self, epochs: Sequence[int], context: TrialContext, sweeps: Sequence[int] = ()
    ) -> Generator[HeldOutLoss, None, None]:
        """Yield held-out losses after all sweeps of the problem and each of these numbers of L-BFGS epochs (ascending).

        Close the generator when enough are known. ``sweeps``: first also the losses after these numbers of the sweeps
        (ascending).
        """
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            loss = self.objective(backend)
            for vector in self._lbfgs_parameters(loss, epochs, context, sweeps):
                yield HeldOutLoss(self.held_out_losses(loss, vector))

    def lbfgs_likelihoods(
        self, epochs: Sequence[int], context: TrialContext
    ) -> Generator[tuple[float, ...], None, None]:
        """Yield the negative log-likelihoods over all pixels after the same epochs, one after the other."""
        with closing(open_backend(context.backend, self.problem.multislice, context.threads)) as backend:
            for vector in self._lbfgs_parameters(self.objective(backend), epochs, context):
                yield self._likelihood(vector, context, bright_field_only=False)

    def _lbfgs_parameters(
        self, loss: Objective, epochs: Sequence[int], context: TrialContext, sweeps: Sequence[int] = ()
    ) -> Iterator[Any]:
        """Yield the parameters after each of these numbers of sweeps, and after all of them and each of the epochs."""
        strategy, sweeping = self.problem.strategy, self.solver(loss.backend, self.all_sweeps)
        sweep: SweepState | None = None
        for number in sweeps:
            sweep = self._after(sweeping, loss.backend, sweep, number)
            yield sweep.vector
        sweep = self._after(sweeping, loss.backend, sweep, self.all_sweeps)
        solver = Lbfgs(
            loss.of_patterns(self.swept),
            max(epochs),
            self.preset.solver.hist_length,
            Descent.of(self.preset.solver),
            strategy.probe_step / strategy.trial_step,
            strategy.anchor,
        )
        state = solver.init(sweep.vector)
        for most in epochs:
            while len(state.losses) < most and not solver.finished(state):
                state = solver.step(state)
            context.pause()
            yield state.vector

    def held_out_losses(self, objective: PatternLoss, vector: Any) -> tuple[float, ...]:
        """Loss per pattern on each group of the held-out patterns."""
        groups = [np.sort(group) for group in np.array_split(self.held_out, min(GROUPS, len(self.held_out)))]
        losses = objective.losses(vector, groups)
        return tuple(loss / len(group) for loss, group in zip(losses, groups, strict=True))

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
        """Sweeps over the patterns that are not held out.

        They are in the order of their numbers, not of their windows: else positions that differ by 0.02 Å would take
        other batches, and the chance in their order would be ten times what the held-out patterns' scatter shows.
        """
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
        )


def central_part(dataset: Dataset, most: int = MOST_PATTERNS) -> Dataset:
    """Square of patterns in the middle of the scan (:func:`central`); the whole data set if it has few."""
    return dataset if len(dataset.patterns) <= most else dataset.part(central(dataset, most))
