"""A refinement whose final object and probe are outputs of networks (docs/dgp.md).

The pixels are refined as usual, on all patterns except some that are held out. From there the networks of
:mod:`ptylive.engine.dgp` are trained, first to reproduce the pixels, then on the patterns, with the loss and gradient
of the same backend, including regularisers and held constraints. The held-out patterns decide which state is the result
(:mod:`ptylive.engine.refine.run.prior_choice`), and whether there is an image at all. If the pixels are to be the
result, they are refined once more including the held-out patterns: the result is then that of ``method=pixels``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.dgp.ring_gains import Bands, fitted_gains
from ptylive.engine.refine.parameters.constraint import Constraints
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.problem.generative import Generative, held_groups
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.regularisers.registry import registered
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.results.prior import PriorReport
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult, State
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.outcome import Outcome
from ptylive.engine.refine.run.preview import build_preview
from ptylive.engine.refine.run.prior_choice import PriorChoice
from ptylive.engine.refine.run.refinement import PREVIEW_SECONDS, REPORT_SECONDS, Observers, Refinement, StopRequested
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.validation.null_test import losses_by_place
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray
from ptylive.schema.preset import Preset

ALL_PATTERNS = "pixels refined again with all patterns"

if TYPE_CHECKING:
    from ptylive.engine.dgp.training import Training


def refined_with_prior(
    problem: Problem,
    preset: Preset,
    backend: MultisliceBackend,
    observers: Observers,
    context: TrialContext,
    saved: checkpoints.Checkpoint | None,
) -> RefineResult:
    """Refine pixels, then train networks. Raises MetadataError if the networks do not fit into memory."""
    run = _PriorRun(problem, preset, backend, observers, context)
    first = Refinement(
        run.problem, preset, backend, replace(observers, on_progress=run.report_pixels), context, run.groups
    )
    pixels = first.run(saved)
    if pixels.state != "done":
        return pixels
    trained = run.with_networks(pixels, first.vector)
    if trained.state != "done" or trained.prior is None or trained.prior.taken:
        return trained
    second = Refinement(run.problem, preset, backend, run.second_observers, context)
    return run.with_all_patterns(trained, second.run(None))


@dataclass
class _Clock:
    """Times of the last reports."""

    start: float
    report: float = -math.inf
    preview: float = -math.inf


class _PriorRun:
    """The part of a run in which networks are trained."""

    def __init__(
        self,
        problem: Problem,
        preset: Preset,
        backend: MultisliceBackend,
        observers: Observers,
        context: TrialContext,
    ) -> None:
        self._preset, self._backend, self._observers, self._context = preset, backend, observers, context
        self.groups = held_groups(problem.multislice.count, preset.prior.dgp_held_out, preset.solver.seed)
        self._fitted_patterns = np.setdiff1d(np.arange(problem.multislice.count), np.concatenate(self.groups))
        networks = Generative.of(
            preset.prior,
            problem.layout,
            len(self._fitted_patterns),
            problem.statistics.dose_e_per_A2,
            probe_refined=preset.refined.update_probe,
            seed=preset.solver.seed,
        )
        networks.check_fits()
        self._plan, self._parts = networks.plan, networks.parts
        self._expected = networks.seconds(len(self._fitted_patterns), context.threads)
        words = f"{problem.strategy.reason}; {networks.words(len(self._fitted_patterns), context.threads)}"
        self.problem = replace(problem, strategy=replace(problem.strategy, reason=words))
        self._log, self._message = Log(), ""
        self._clock = _Clock(time.monotonic())
        self._pixel_seconds = 0.0

    def report_pixels(self, progress: Progress) -> None:
        """Report progress of the pixels as that of the whole run, which continues after they end."""
        continues = progress.state == "done"
        self._observers.on_progress(
            replace(
                progress,
                state="running" if continues else progress.state,
                epochs=progress.epochs + self._plan.epochs,
                seconds_left=progress.seconds_left + self._expected,
            )
        )

    @property
    def second_observers(self) -> Observers:
        """Observers for refining the pixels once more, as a later stage; the checkpoint stays that of the first."""
        earlier = (*(self._observers.earlier or ()), self._log)
        return replace(self._observers, on_progress=self._report_all_patterns, checkpoint=None, earlier=earlier)

    def _report_all_patterns(self, progress: Progress) -> None:
        """Report progress of the pixels that are refined once more, counted after all epochs so far."""
        epochs_before = len(self._log.losses)
        self._observers.on_progress(
            replace(
                progress,
                epoch=epochs_before + progress.epoch,
                epochs=epochs_before + progress.epochs,
                seconds=sum(self._log.seconds) + progress.seconds,
                evaluations=self._log.evaluations + progress.evaluations,
                message=f"{self._message}; {progress.message}" if progress.state != "running" else ALL_PATTERNS,
            )
        )

    def with_all_patterns(self, first: RefineResult, pixels: RefineResult) -> RefineResult:
        """Replace the kept pixels by those refined from all patterns; their curves continue the earlier ones."""
        if pixels.state != "done":
            return replace(first, state=pixels.state, message=f"{first.message}; {pixels.message}")
        message = f"{first.message}; {ALL_PATTERNS}"
        return replace(
            pixels,
            prior=first.prior,
            loss=np.concatenate([first.loss, pixels.loss]),
            seconds=np.concatenate([first.seconds, pixels.seconds]),
            phases=(*first.phases, *pixels.phases),
            evaluations=first.evaluations + pixels.evaluations,
            message=f"{message}; {pixels.message}" if pixels.message else message,
        )

    def with_networks(self, pixels: RefineResult, vector: Any) -> RefineResult:
        """Train networks from the state of the pixels, and choose the result."""
        from ptylive.engine.dgp.training import Training

        losses, seconds = tuple(pixels.loss.tolist()), tuple(pixels.seconds.tolist())
        self._log = Log(losses, pixels.phases, seconds, pixels.evaluations)
        self._pixel_seconds, self._clock = sum(seconds), _Clock(time.monotonic())
        objective = self._objective()
        pixel_losses = self._held_out_losses(objective, vector)
        choice = PriorChoice(pixel_losses, self._over_chance(self._to_numpy(vector)))
        training = Training(self._plan, self._parts, self._to_numpy(vector), self._backend.xp, self._context.threads)
        state: State = "done"
        self._report(vector, f"networks on the {training.where}: pre-training")
        try:
            self._pretrain(training, vector)
            self._train(training, objective, choice)
        except StopRequested:
            state, self._message = "stopped", "stopped on request"
        return self._finish(pixels, vector, choice, state)

    def _pretrain(self, training: Training, vector: Any) -> None:
        for step, share in training.pretrained():
            self._pause()
            self._report(vector, f"pre-training of the networks, step {step}: {100 * share:.2g} % not yet reproduced")

    def _train(self, training: Training, objective: Objective, choice: PriorChoice) -> None:
        """Run all epochs on the patterns."""
        scale, steps = max(float(np.mean(choice.pixels)), 1e-30), self._plan.steps(len(self._fitted_patterns))
        course, vector = training.on_patterns(self._evaluate(objective), self._fitted_patterns, scale), None
        for epoch in range(1, self._plan.epochs + 1):
            epoch_start = time.monotonic()
            for step in course.epoch():
                self._pause()
                self._log = self._log.with_evaluations(1 / steps)
                if step < steps:
                    self._report(vector, "", amid=step / steps)
            vector = objective.project(self._backend.xp.asarray(training.vector()))
            losses = self._held_out_losses(objective, vector)
            choice.add(epoch, vector, losses)
            self._log = self._log.with_epoch(course.loss, "dgp", time.monotonic() - epoch_start)
            self._write_files(vector)
            self._report(vector, f"epoch {epoch} of the networks: gain {Gain.over(choice.pixels, losses)}", force=True)
            if not course.after(losses):
                return

    def _finish(self, pixels: RefineResult, vector: Any, choice: PriorChoice, state: State) -> RefineResult:
        """Build the result from the chosen state, with its report."""
        best = choice.best
        best_gain = choice.over_chance if best is None else self._over_chance(self._to_numpy(best.vector))
        candidate = choice.chosen(best_gain)
        chosen = self._to_numpy(vector if candidate is None else candidate.vector)
        problem, shown = self.problem, None
        if candidate is not None and state == "done":
            self._report(vector, "strength of each frequency band")
            chosen, shown = self._in_balance(chosen)
        report = PriorReport(
            first_epoch=len(pixels.loss),
            losses_held=np.asarray([float(np.mean(choice.pixels)), *choice.history]),
            held_out=sum(len(group) for group in self.groups),
            epoch=0 if candidate is None else candidate.epoch,
            over_pixels=choice.gain,
            over_chance=choice.image_gain(best_gain),
            bands=shown,
        )
        self._message = f"{self._message}; {report.sentence}" if self._message else report.sentence
        modulus_fixed = any(
            entry.on(self._settings.regularisers) and getattr(entry.made_by, "fixes_modulus", False)
            for entry in registered()
        )
        result = Outcome(chosen, self._log, state, self._message, modulus_fixed).result(problem, self._backend.name)
        deviation = pixels.phase_deviation if candidate is None else None
        over = state != "done" or report.taken
        self._report(self._backend.xp.asarray(chosen), self._message, state=state if over else "running", force=True)
        return replace(result, phase_deviation=deviation, prior=report)

    def _in_balance(self, vector: Array) -> tuple[Array, Gain | None]:
        """Scale each frequency band of the object to fit the held-out patterns; return parameters (n,) and the gain.

        Returns the unchanged parameters and None unless a better prediction of other patterns is certain.
        """
        objective, part = self._objective(), self._parts[0]
        objective = replace(objective, terms=(), constraint=None, pause=lambda: None)
        block, lowest = slice(part.first, part.first + part.size), self.problem.layout.non_negative

        def with_images(images: FloatArray) -> Any:
            values = vector.copy()
            values[block] = (images - images.min() if lowest else images).ravel()  # no pattern depends on a constant
            return objective.project(self._backend.xp.asarray(values))

        def gradient(images: FloatArray) -> tuple[DoubleArray, FloatArray]:
            values = [(objective.evaluate(with_images(images), group), len(group)) for group in self.groups]
            slopes = [self._to_numpy(evaluation.gradient[block]).reshape(part.shape) for evaluation, _ in values]
            return np.asarray([float(evaluation.loss) / size for evaluation, size in values]), np.asarray(slopes)

        images, bands = np.asarray(vector[block], np.float32).reshape(part.shape), Bands(part.shape[1:])
        gains, before, after = fitted_gains(bands, images, gradient)
        if not (gain := Gain.over(before, after)).certain:
            return vector, None
        constrained = replace(self._objective(), pause=lambda: None)
        scaled = constrained.project(self._backend.xp.asarray(with_images(bands.scaled(images, gains))))
        return self._to_numpy(scaled), gain

    @property
    def _settings(self) -> Preset:
        """Settings for the epochs of the networks: those of the first epoch after the pixels."""
        return self._preset.at(len(self._log.losses) if self._preset.schedules else 0)

    def _objective(self) -> Objective:
        """The loss that the networks minimise."""
        problem, xp, settings = self.problem, self._backend.xp, self._settings
        regularisation, layout = problem.regularisation, problem.layout
        other_terms = tuple(term for term in problem.terms if not regularisation.owns(term))
        constraints = on_device(regularisation.held(settings.regularisers, layout), xp)
        return Objective(
            self._backend,
            on_device(layout, xp),
            problem.multislice.count,
            move_probe=settings.refined.update_probe,
            move_others=False,
            constraint=Constraints.of(*constraints),
            terms=on_device((*other_terms, *regularisation.terms(settings.regularisers, layout)), xp),
            pause=self._pause,
        )

    @staticmethod
    def _evaluate(objective: Objective) -> Callable[[Any, IndexArray], tuple[float, Any]]:
        """Return loss and gradient as the networks need them, evaluated at the nearest allowed parameters."""

        def evaluate(vector: Any, patterns: IndexArray) -> tuple[float, Any]:
            evaluation = objective.evaluate(objective.project(vector.copy()), patterns)
            return float(evaluation.loss), evaluation.gradient

        return evaluate

    def _held_out_losses(self, objective: Objective, vector: Any) -> DoubleArray:
        """(groups,) loss per held-out pattern, from the patterns alone without other terms."""
        alone = replace(objective, terms=())
        return np.asarray([float(alone.evaluate(vector, group).loss) / len(group) for group in self.groups])

    def _over_chance(self, vector: Array) -> Gain:
        """Gain in predicting held-out patterns at their own positions over each other's positions."""
        problem, where = self.problem, (self._context.backend, self._context.threads)
        own_losses, exchanged = losses_by_place(problem.multislice, problem.layout, vector, self.groups, where)
        return Gain.over(exchanged, own_losses)

    def _to_numpy(self, vector: Any) -> Any:
        return self._backend.to_numpy(vector)

    def _pause(self) -> None:
        if self._observers.should_stop():
            raise StopRequested

    def _write_files(self, vector: Any) -> None:
        """Write loss table and history if requested; a full disk affects only these files."""
        observers, epochs = self._observers, self._observers.epochs_before + len(self._log.losses)
        try:
            if observers.loss_table is not None:
                write_loss_table(observers.loss_table, self._log, observers.earlier)
            if observers.history is not None and observers.history.due(epochs):
                outcome = Outcome(self._to_numpy(vector), self._log, "running", "", modulus_fixed=False)
                observers.history.keep(epochs, partial(outcome.result, self.problem, self._backend.name))
        except OSError as error:
            self._message = f"not everything could be written: {error.strerror or error}"

    def _report(
        self, vector: Any, words: str, *, amid: float = 0.0, state: State = "running", force: bool = False
    ) -> None:
        """Report progress, at most every quarter of a second except at the end of an epoch."""
        clock, now = self._clock, time.monotonic()
        if not force and now - clock.report < REPORT_SECONDS:
            return
        clock.report, preview = now, None
        if vector is not None and (now - clock.preview >= PREVIEW_SECONDS or state != "running"):
            clock.preview = now
            preview = partial(build_preview, self.problem.layout, self._backend, vector, self.problem.grid.pixel_A)
        first = self._log.phases.count("dgp")
        epochs_done = first + amid
        spent = now - clock.start
        remaining = spent / epochs_done * (self._plan.epochs - epochs_done) if epochs_done > 0 else self._expected
        self._observers.on_progress(
            Progress(
                state=state,
                phase="dgp",
                epoch=len(self._log.losses),
                epochs=max(len(self._log.losses), len(self._log.losses) - first + self._plan.epochs),
                loss=self._log.losses[-1] if self._log.losses else math.nan,
                seconds=self._pixel_seconds + spent,
                seconds_left=remaining if state == "running" else 0.0,
                evaluations=self._log.evaluations,
                message=words or self._message or self.problem.strategy.reason,
                preview=preview,
                losses=self._log.losses,
                phases=self._log.phases,
            )
        )
