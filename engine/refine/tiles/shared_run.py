"""A refinement on many workers, on the machine that runs it: cut, monitor, save states, restart if a worker is lost.

This machine does not see the object before the end: on the way it only gets losses, and states of tiles that are passed
on to the disk, one at a time.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.problem.prepare import Problem
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import Progress, RefineResult, State
from ptylive.engine.refine.run.convergence import convergence, held_out_of
from ptylive.engine.refine.run.course import CoursePlan
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.run.loss_table import write_loss_table
from ptylive.engine.refine.run.outcome import Outcome
from ptylive.engine.refine.run.refinement import Observers
from ptylive.engine.refine.tiles.crew import Crew, CrewBusy, CrewLost, Workers
from ptylive.engine.refine.tiles.possible import check_possible, check_problem
from ptylive.engine.refine.tiles.tile_part import part_of, tiles_of
from ptylive.engine.refine.tiles.tile_run import log_of_plain, state_of, vector_and_gradient
from ptylive.engine.refine.tiles.tile_sets import TileSet, TileSets
from ptylive.engine.refine.tiles.tile_vector import add_part
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.validation.phase_deviation import EndOfRun, phase_deviation
from ptylive.schema.errors import PtyliveError, RefinementError, StoppedError
from ptylive.schema.model import Array, IndexArray
from ptylive.schema.preset import Preset

MOST_LOST = 10
"""Losses of a worker without an epoch or saved state in between, after which the refinement is held responsible."""


class SharedRun:
    """One run; the counterpart of :class:`~ptylive.engine.refine.run.refinement.Refinement` on one machine."""

    def __init__(
        self, problem: Problem, preset: Preset, workers: Workers, observers: Observers, context: TrialContext
    ) -> None:
        """Raise RefinementError if tiles do not support the problem."""
        check_problem(problem)
        self._problem, self._preset, self._workers = problem, preset, workers
        self._observers, self._context = observers, context
        self._tiles = tiles_of(problem, workers.tiles)
        self._plan = CoursePlan.of(problem.strategy, preset.solver, open_end=True)
        self._log, self._message, self._warning = Log(), "", ""
        self._held_out: tuple[IndexArray, ...] = ()
        """Groups of held-out patterns."""
        self._end_messages: dict[int, Mapping[str, Any]] = {}
        self._final: dict[int, int] = {}
        self._announced: dict[int, set[int]] = {}
        """Serial number of a saved state -> tiles that have announced it."""
        self.tile_statistics: tuple[Mapping[str, Any], ...] = ()
        """Statistics of each tile: total seconds, seconds spent on messages, bytes sent."""

    def run(self, *, resume: bool) -> RefineResult:
        """Run to the end, from a checkpoint if there is one and ``resume`` is set."""
        with ExitStack() as stack:
            place = self._observers.checkpoint
            if place is None:
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptylive-tiles-"))) / "states"
            sets = TileSets(place, len(self._tiles), self._observers.identity)
            if resume:
                self._add_message(sets.load())
            if sets.newest is not None:
                self._log = state_of(sets.newest.read(0))[1]
            earlier = self._log if sets.newest is not None else None
            self._held_out = held_out_of(self._log, self._preset.solver, self._problem.multislice.count)
            self._run_to_end(sets)
            if sets.newest is None:
                raise RefinementError("no state of the tiles could be saved", "check whether the disk is full")
            result = self._result(sets.newest)
            return replace(result, unchanged=self._log == earlier)

    def _run_to_end(self, sets: TileSets) -> None:
        times_lost = 0
        while True:
            progress = (len(self._log.losses), sets.newest)
            try:
                self._run_crew(sets)
            except CrewBusy as error:
                self._report(f"waiting for workers: {error}")
                if self._observers.should_stop():
                    raise StoppedError("stopped on request before the refinement began") from None
            except CrewLost as error:
                times_lost = times_lost + 1 if progress == (len(self._log.losses), sets.newest) else 1
                if times_lost >= MOST_LOST:
                    raise RefinementError(
                        f"workers were lost {times_lost} times in a row, last error: {error}"
                    ) from None
                self._log = Log() if sets.newest is None else state_of(sets.newest.read(0))[1]
                lost = f"a worker was lost ({error}): continuing from the last checkpoint"
                self._report(lost, warning=lost)
            else:
                return

    def _run_crew(self, sets: TileSets) -> None:
        """Work with one crew until the end of the run. Raises CrewLost."""
        self._end_messages, self._final, self._announced = {}, {}, {}
        saved = None if sets.newest is None else sets.newest.read
        with self._workers.crew(self._part, saved) as crew:
            stop_requested = False
            while len(self._end_messages) < len(self._tiles):
                for tile, message in crew.heard():
                    self._handle(tile, message, crew, sets)
                if not stop_requested and self._observers.should_stop():
                    crew.stop()
                    stop_requested = True
                time.sleep(crew.poll_s)
            self.tile_statistics = tuple(self._end_messages[tile] for tile in range(len(self._tiles)))
            self._save(crew, sets, max(self._final.values()))

    def _part(self, tile: int) -> bytes:
        """The part of a tile, to be sent."""
        refined = self._preset.refined
        return part_of(self._problem, self._tiles[tile], self._plan, refined, self._held_out).to_bytes()

    def _handle(self, tile: int, message: Mapping[str, Any], crew: Crew, sets: TileSets) -> None:
        """Process a message. Raises CrewLost, RefinementError."""
        kind = message["kind"]
        if kind == "progress":
            self._progress(message)
        elif kind == "kept":
            serial = int(message["serial"])
            self._final[tile] = serial
            self._announced.setdefault(serial, set()).add(tile)
            if len(self._announced[serial]) == len(self._tiles) and not self._end_messages:
                self._save(crew, sets, serial)
        elif kind == "ended":
            self._end_messages[tile] = message
        elif kind == "lost":
            raise CrewLost(str(message["message"]))
        else:
            raise RefinementError(f"worker {tile + 1} of {len(self._tiles)}: {message['message']}")

    def _save(self, crew: Crew, sets: TileSets, serial: int) -> None:
        """Write a checkpoint, if the disk accepts it. Raises CrewLost."""
        try:
            sets.save(partial(_saved_state, crew, serial))
        except OSError as error:
            self._warning = f"{sets.index} could not be written: {error.strerror or error}"
            self._report(self._warning)  # at once: after the last state there is no other report
        except LookupError:
            pass  # the tiles have moved on: the next state will be saved
        else:
            self._warning = ""

    def _progress(self, message: Mapping[str, Any]) -> None:
        epochs = len(self._log.losses)
        self._log = log_of_plain(message["log"])
        if len(self._log.losses) > epochs and self._observers.loss_table is not None:
            try:
                write_loss_table(self._observers.loss_table, log=self._log, earlier=self._observers.earlier)
            except OSError as error:
                self._warning = f"{self._observers.loss_table} could not be written: {error.strerror or error}"
        self._report(self._problem.strategy.reason, share=float(message["share"]), sweeping=bool(message["sweeping"]))

    def _report(
        self, message: str, share: float = 0.0, *, sweeping: bool = True, state: State = "running", warning: str = ""
    ) -> None:
        log, epochs = self._log, max(self._problem.strategy.epochs, len(self._log.losses))
        finished = len(log.losses) + share
        seconds = log.total_seconds
        self._observers.on_progress(
            Progress(
                state=state,
                phase="sweep" if sweeping else "lbfgs",
                epoch=len(log.losses),
                epochs=epochs,
                loss=log.losses[-1] if log.losses else math.nan,
                seconds=seconds,
                seconds_left=seconds / finished * (epochs - finished) if finished > 0 and state == "running" else 0.0,
                evaluations=log.evaluations,
                message=message,
                warning=warning or self._warning,
                losses=log.losses,
                phases=log.phases,
            )
        )

    def _add_message(self, sentence: str) -> None:
        self._message = "; ".join(part for part in (self._message, sentence) if part)

    def _result(self, newest: TileSet) -> RefineResult:
        """Combine the tiles to a result."""
        layout, first_end = self._problem.layout, self._end_messages[0]
        combined = np.zeros(layout.size, np.float32)
        gradient: Array | None = np.zeros(layout.size, np.float32)
        for tile in self._tiles:
            vector, derivative = vector_and_gradient(newest.read(tile.number))
            add_part(layout, combined, tile, vector)
            if derivative is None:
                gradient = None
            elif gradient is not None:
                add_part(layout, gradient, tile, derivative)
        self._log = state_of(newest.read(0))[1]
        final_state: State = "failed" if first_end["wrong"] else "stopped" if first_end["stopped"] else "done"
        if final_state == "stopped":
            self._add_message("stopped on request")
        self._add_message(first_end["wrong"])
        converged = None
        if final_state == "done":
            held_count = sum(map(len, self._held_out))
            converged = convergence(self._log, held_count, at_rest=first_end["at_rest"])
            if converged is not None:
                self._add_message(converged.sentence)
        deviation = self._deviation(combined, gradient)
        self._add_message(self._warning)
        self._report(self._message or self._problem.strategy.reason, sweeping=gradient is None, state=final_state)
        name = f"{first_end['backend']}, {len(self._tiles)} workers"
        outcome = Outcome(combined, self._log, final_state, self._message, modulus_fixed=False)
        return replace(outcome.result(self._problem, name), phase_deviation=deviation, convergence=converged)

    def _deviation(self, vector: Array, gradient: Array | None) -> PhaseDeviation | None:
        """Standard deviation of the phase by noise; None if it is not requested or cannot be determined."""
        preset, problem, context = self._preset, self._problem, self._context
        requested = preset.object.phase_deviation and preset.refined.update_obj
        if not requested or not self._log.losses or not np.isfinite(vector).all():
            return None
        try:
            with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
                moved = None if gradient is None else backend.xp.asarray(gradient)
                end = EndOfRun.of(
                    problem, backend, (backend.xp.asarray(vector), moved), self._log.phases, problem.terms
                )
            return phase_deviation(problem, end, context, preset.solver.seed)
        except PtyliveError as error:
            self._add_message(f"the standard deviation of the phase could not be estimated: {error.line()}")
            return None


class Shared:
    """Sharing of a run among many workers, as :func:`ptylive.engine.refine.refine` takes it."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.last: SharedRun | None = None
        """The last run."""

    def check(self, preset: Preset) -> None:
        """See :class:`ptylive.engine.refine.run.run.Sharing`."""
        check_possible(preset)

    def refined(
        self, problem: Problem, preset: Preset, observers: Observers, context: TrialContext, *, resume: bool
    ) -> RefineResult:
        """See :class:`ptylive.engine.refine.run.run.Sharing`."""
        self.last = SharedRun(problem, preset, self.workers, observers, context)
        return self.last.run(resume=resume)


def _saved_state(crew: Crew, serial: int, tile: int) -> bytes:
    return crew.kept(tile, serial)
