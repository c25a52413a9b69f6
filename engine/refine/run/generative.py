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
    saved: checkpoints.Saved | None,
) -> RefineResult:
    """Refine pixels, then train networks. Raises MetadataError if the networks do not fit into memory."""
    run = _PriorRun(problem, preset, backend, observers, context)
    first = Refinement(run.problem, preset, backend, replace(observers, on_progress=run.of_pixels), context, run.groups)
    pixels = first.run(saved)
    if pixels.state != "done":
        return pixels
    found = run.go_on(pixels, first.vector)
    if found.state != "done" or found.prior is None or found.prior.taken:
        return found
    again = Refinement(run.problem, preset, backend, run.observers_again, context)
    return run.with_all_patterns(found, again.run(None))


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
        self._rest = np.setdiff1d(np.arange(problem.multislice.count), np.concatenate(self.groups))
        networks = Generative.of(
            preset.prior,
            problem.layout,
            len(self._rest),
            problem.statistics.dose_e_per_A2,
            probe_refined=preset.refined.update_probe,
            seed=preset.solver.seed,
        )
        networks.check_fits()
        self._plan, self._parts = networks.plan, networks.parts
        self._expected = networks.seconds(len(self._rest), context.threads)
        words = f"{problem.strategy.reason}; {networks.words(len(self._rest), context.threads)}"
        self.problem = replace(problem, strategy=replace(problem.strategy, reason=words))
        self._log, self._message = Log(), ""
        self._clock = _Clock(time.monotonic())
        self._before = 0.0

    def of_pixels(self, progress: Progress) -> None:
        """Report progress of the pixels as that of the whole run, which continues after they end."""
        goes_on = progress.state == "done"
        self._observers.on_progress(
            replace(
                progress,
                state="running" if goes_on else progress.state,
                epochs=progress.epochs + self._plan.epochs,
                seconds_left=progress.seconds_left + self._expected,
            )
        )

    @property
    def observers_again(self) -> Observers:
        """Observers for refining the pixels once more, as a later stage; the checkpoint stays that of the first."""
        earlier = (*(self._observers.earlier or ()), self._log)
        return replace(self._observers, on_progress=self._of_all_patterns, checkpoint=None, earlier=earlier)

    def _of_all_patterns(self, progress: Progress) -> None:
        """Report progress of the pixels that are refined once more, counted after all epochs so far."""
        before = len(self._log.losses)
        self._observers.on_progress(
            replace(
                progress,
                epoch=before + progress.epoch,
                epochs=before + progress.epochs,
                seconds=sum(self._log.seconds) + progress.seconds,
                evaluations=self._log.evaluations + progress.evaluations,
                message=f"{self._message}; {progress.message}" if progress.state != "running" else ALL_PATTERNS,
            )
        )

    def with_all_patterns(self, kept: RefineResult, pixels: RefineResult) -> RefineResult:
        """Replace the kept pixels by those refined from all patterns; their curves continue the earlier ones."""
        if pixels.state != "done":
            return replace(kept, state=pixels.state, message=f"{kept.message}; {pixels.message}")
        message = f"{kept.message}; {ALL_PATTERNS}"
        return replace(
            pixels,
            prior=kept.prior,
            loss=np.concatenate([kept.loss, pixels.loss]),
            seconds=np.concatenate([kept.seconds, pixels.seconds]),
            phases=(*kept.phases, *pixels.phases),
            evaluations=kept.evaluations + pixels.evaluations,
            message=f"{message}; {pixels.message}" if pixels.message else message,
        )

    def go_on(self, pixels: RefineResult, vector: Any) -> RefineResult:
        """Train networks from the state of the pixels, and choose the result."""
        from ptylive.engine.dgp.training import Training

        losses, seconds = tuple(pixels.loss.tolist()), tuple(pixels.seconds.tolist())
        self._log = Log(losses, pixels.phases, seconds, pixels.evaluations)
        self._before, self._clock = sum(seconds), _Clock(time.monotonic())
        objective = self._objective()
        pixels_held = self._held(objective, vector)
        choice = PriorChoice(pixels_held, self._over_chance(self._to_numpy(vector)))
        training = Training(self._plan, self._parts, self._to_numpy(vector), self._backend.xp, self._context.threads)
        ended: State = "done"
        self._tell(vector, f"networks on the {training.where}: pre-training")
        try:
            self._pretrain(training, vector)
            self._train(training, objective, choice)
        except StopRequested:
            ended, self._message = "stopped", "stopped on request"
        return self._finish(pixels, vector, choice, ended)

    def _pretrain(self, training: Training, vector: Any) -> None:
        for step, share in training.pretrained():
            self._pause()
            self._tell(vector, f"pre-training of the networks, step {step}: {100 * share:.2g} % not yet reproduced")

    def _train(self, training: Training, objective: Objective, choice: PriorChoice) -> None:
        """Run all epochs on the patterns."""
        scale, steps = max(float(np.mean(choice.pixels)), 1e-30), self._plan.steps(len(self._rest))
        course, vector = training.on_patterns(self._evaluate(objective), self._rest, scale), None
        for epoch in range(1, self._plan.epochs + 1):
            epoch_start = time.monotonic()
            for step in course.epoch():
                self._pause()
                self._log = self._log.with_evaluations(1 / steps)
                if step < steps:
                    self._tell(vector, "", amid=step / steps)
            vector = objective.project(self._backend.xp.asarray(training.vector()))
            held = self._held(objective, vector)
            choice.add(epoch, vector, held)
            self._log = self._log.with_epoch(course.loss, "dgp", time.monotonic() - epoch_start)
            self._keep(vector)
            self._tell(vector, f"epoch {epoch} of the networks: gain {Gain.over(choice.pixels, held)}", force=True)
            if not course.after(held):
                return

    def _finish(self, pixels: RefineResult, vector: Any, choice: PriorChoice, ended: State) -> RefineResult:
        """Build the result from the chosen state, with its report."""
        best = choice.best
        of_best = choice.over_chance if best is None else self._over_chance(self._to_numpy(best.vector))
        taken = choice.taken(of_best)
        chosen = self._to_numpy(vector if taken is None else taken.vector)
        problem, shown = self.problem, None
        if taken is not None and ended == "done":
            self._tell(vector, "strength of each frequency band")
            chosen, shown = self._in_balance(chosen)
        report = PriorReport(
            first_epoch=len(pixels.loss),
            losses_held=np.asarray([float(np.mean(choice.pixels)), *choice.history]),
            held_out=sum(len(group) for group in self.groups),
            epoch=0 if taken is None else taken.epoch,
            over_pixels=choice.gain,
            over_chance=choice.seen(of_best),
            bands=shown,
        )
        self._message = f"{self._message}; {report.sentence}" if self._message else report.sentence
        modulus_fixed = any(
            each.on(self._now.regularisers) and getattr(each.made_by, "fixes_modulus", False) for each in registered()
        )
        result = Outcome(chosen, self._log, ended, self._message, modulus_fixed).result(problem, self._backend.name)
        deviation = pixels.phase_deviation if taken is None else None
        over = ended != "done" or report.taken
        self._tell(self._backend.xp.asarray(chosen), self._message, ended=ended if over else "running", force=True)
        return replace(result, phase_deviation=deviation, prior=report)

    def _in_balance(self, vector: Array) -> tuple[Array, Gain | None]:
        """Scale each frequency band of the object to fit the held-out patterns; return parameters (n,) and the gain.

        Returns the unchanged parameters and None unless a better prediction of other patterns is certain.
        """
        objective, part = self._objective(), self._parts[0]
        objective = replace(objective, terms=(), constraint=None, pause=lambda: None)
        place, lowest = slice(part.first, part.first + part.size), self.problem.layout.non_negative

        def with_images(images: FloatArray) -> Any:
            found = vector.copy()
            found[place] = (images - images.min() if lowest else images).ravel()  # no pattern depends on a constant
            return objective.project(self._backend.xp.asarray(found))

        def gradient(images: FloatArray) -> tuple[DoubleArray, FloatArray]:
            found = [(objective.evaluate(with_images(images), group), len(group)) for group in self.groups]
            slopes = [self._to_numpy(one.gradient[place]).reshape(part.shape) for one, _ in found]
            return np.asarray([float(one.loss) / size for one, size in found]), np.asarray(slopes)

        images, bands = np.asarray(vector[place], np.float32).reshape(part.shape), Bands(part.shape[1:])
        gains, before, after = fitted_gains(bands, images, gradient)
        if not (gain := Gain.over(before, after)).certain:
            return vector, None
        held = replace(self._objective(), pause=lambda: None)
        made = held.project(self._backend.xp.asarray(with_images(bands.scaled(images, gains))))
        return self._to_numpy(made), gain

    @property
    def _now(self) -> Preset:
        """Settings for the epochs of the networks: those of the first epoch after the pixels."""
        return self._preset.at(len(self._log.losses) if self._preset.schedules else 0)

    def _objective(self) -> Objective:
        """The loss that the networks minimise."""
        problem, xp, now = self.problem, self._backend.xp, self._now
        regularisation, layout = problem.regularisation, problem.layout
        kept = tuple(term for term in problem.terms if not regularisation.owns(term))
        held = on_device(regularisation.held(now.regularisers, layout), xp)
        return Objective(
            self._backend,
            on_device(layout, xp),
            problem.multislice.count,
            move_probe=now.refined.update_probe,
            move_others=False,
            constraint=Constraints.of(*held),
            terms=on_device((*kept, *regularisation.terms(now.regularisers, layout)), xp),
            pause=self._pause,
        )

    @staticmethod
    def _evaluate(objective: Objective) -> Callable[[Any, IndexArray], tuple[float, Any]]:
        """Return loss and gradient as the networks need them, evaluated at the nearest allowed parameters."""

        def evaluate(vector: Any, patterns: IndexArray) -> tuple[float, Any]:
            found = objective.evaluate(objective.project(vector.copy()), patterns)
            return float(found.loss), found.gradient

        return evaluate

    def _held(self, objective: Objective, vector: Any) -> DoubleArray:
        """(groups,) loss per held-out pattern, from the patterns alone without other terms."""
        alone = replace(objective, terms=())
        return np.asarray([float(alone.evaluate(vector, group).loss) / len(group) for group in self.groups])

    def _over_chance(self, vector: Array) -> Gain:
        """Gain in predicting held-out patterns at their own positions over each other's positions."""
        problem, where = self.problem, (self._context.backend, self._context.threads)
        own, elsewhere = losses_by_place(problem.multislice, problem.layout, vector, self.groups, where)
        return Gain.over(elsewhere, own)

    def _to_numpy(self, vector: Any) -> Any:
        return self._backend.to_numpy(vector)

    def _pause(self) -> None:
        if self._observers.should_stop():
            raise StopRequested

    def _keep(self, vector: Any) -> None:
        """Write loss table and history if requested; a full disk affects only these files."""
        observers, epochs = self._observers, self._observers.epochs_before + len(self._log.losses)
        try:
            if observers.loss_table is not None:
                write_loss_table(observers.loss_table, self._log, observers.earlier)
            if observers.history is not None and observers.history.due(epochs):
                now = Outcome(self._to_numpy(vector), self._log, "running", "", modulus_fixed=False)
                observers.history.keep(epochs, partial(now.result, self.problem, self._backend.name))
        except OSError as error:
            self._message = f"not everything could be written: {error.strerror or error}"

    def _tell(
        self, vector: Any, words: str, *, amid: float = 0.0, ended: State = "running", force: bool = False
    ) -> None:
        """Report progress, at most every quarter of a second except at the end of an epoch."""
        clock, now = self._clock, time.monotonic()
        if not force and now - clock.report < REPORT_SECONDS:
            return
        clock.report, preview = now, None
        if vector is not None and (now - clock.preview >= PREVIEW_SECONDS or ended != "running"):
            clock.preview = now
            preview = partial(build_preview, self.problem.layout, self._backend, vector, self.problem.grid.pixel_A)
        first = self._log.phases.count("dgp")
        done = first + amid
        spent = now - clock.start
        left = spent / done * (self._plan.epochs - done) if done > 0 else self._expected
        self._observers.on_progress(
            Progress(
                state=ended,
                phase="dgp",
                epoch=len(self._log.losses),
                epochs=max(len(self._log.losses), len(self._log.losses) - first + self._plan.epochs),
                loss=self._log.losses[-1] if self._log.losses else math.nan,
                seconds=self._before + spent,
                seconds_left=left if ended == "running" else 0.0,
                evaluations=self._log.evaluations,
                message=words or self._message or self.problem.strategy.reason,
                preview=preview,
            )
        )
