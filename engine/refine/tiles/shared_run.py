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
from ptylive.engine.refine.run.convergence import NOTHING_LOWER, convergence, held_out_of
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
        self._held: tuple[IndexArray, ...] = ()
        """Groups of held-out patterns."""
        self._ended: dict[int, Mapping[str, Any]] = {}
        self._final: dict[int, int] = {}
        self._came: dict[int, set[int]] = {}
        """Serial number of a saved state -> tiles that have announced it."""
        self.talk: tuple[Mapping[str, Any], ...] = ()
        """Statistics of each tile: total seconds, seconds spent on messages, bytes sent."""

    def run(self, *, resume: bool) -> RefineResult:
        """Run to the end, from a checkpoint if there is one and ``resume`` is set."""
        with ExitStack() as stack:
            place = self._observers.checkpoint
            if place is None:
                place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ptylive-tiles-"))) / "states"
            sets = TileSets(place, len(self._tiles), self._observers.identity)
            if resume:
                self._say(sets.load())
            if sets.newest is not None:
                self._log = state_of(sets.newest.read(0))[1]
            self._held = held_out_of(self._log, self._preset.solver, self._problem.multislice.count)
            self._to_the_end(sets)
            if sets.newest is None:
                raise RefinementError("no state of the tiles could be saved", "check whether the disk is full")
            return self._result(sets.newest)

    def _to_the_end(self, sets: TileSets) -> None:
        lost = 0
        while True:
            before = (len(self._log.losses), sets.newest)
            try:
                self._once(sets)
            except CrewBusy as error:
                self._tell(f"waiting for workers: {error}")
                if self._observers.should_stop():
                    raise StoppedError("stopped on request before the refinement began") from None
            except CrewLost as error:
                lost = lost + 1 if before == (len(self._log.losses), sets.newest) else 1
                if lost >= MOST_LOST:
                    raise RefinementError(f"workers were lost {lost} times in a row, last error: {error}") from None
                self._log = Log() if sets.newest is None else state_of(sets.newest.read(0))[1]
                self._tell(f"a worker was lost ({error}): continuing from the last checkpoint")
            else:
                return

    def _once(self, sets: TileSets) -> None:
        """Work with one crew until the end of the run. Raises CrewLost."""
        self._ended, self._final, self._came = {}, {}, {}
        kept = None if sets.newest is None else sets.newest.read
        with self._workers.crew(self._part, kept) as crew:
            asked = False
            while len(self._ended) < len(self._tiles):
                for tile, message in crew.heard():
                    self._hear(tile, message, crew, sets)
                if not asked and self._observers.should_stop():
                    crew.stop()
                    asked = True
                time.sleep(crew.poll_s)
            self.talk = tuple(self._ended[tile] for tile in range(len(self._tiles)))
            self._save(crew, sets, max(self._final.values()))

    def _part(self, tile: int) -> bytes:
        """The part of a tile, to be sent."""
        refined = self._preset.refined
        return part_of(self._problem, self._tiles[tile], self._plan, refined, self._held).to_bytes()

    def _hear(self, tile: int, message: Mapping[str, Any], crew: Crew, sets: TileSets) -> None:
        """Process a message. Raises CrewLost, RefinementError."""
        kind = message["kind"]
        if kind == "progress":
            self._progress(message)
        elif kind == "kept":
            serial = int(message["serial"])
            self._final[tile] = serial
            self._came.setdefault(serial, set()).add(tile)
            if len(self._came[serial]) == len(self._tiles) and not self._ended:
                self._save(crew, sets, serial)
        elif kind == "ended":
            self._ended[tile] = message
        elif kind == "lost":
            raise CrewLost(str(message["message"]))
        else:
            raise RefinementError(f"worker {tile + 1} of {len(self._tiles)}: {message['message']}")

    def _save(self, crew: Crew, sets: TileSets, serial: int) -> None:
        """Write a checkpoint, if the disk accepts it. Raises CrewLost."""
        try:
            sets.save(partial(_kept, crew, serial))
        except OSError as error:
            self._warning = f"{sets.index} could not be written: {error.strerror or error}"
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
        self._tell(self._problem.strategy.reason, share=float(message["share"]), sweeping=bool(message["sweeping"]))

    def _tell(self, words: str, share: float = 0.0, *, sweeping: bool = True, state: State = "running") -> None:
        log, planned = self._log, max(self._problem.strategy.epochs, len(self._log.losses))
        done = len(log.losses) + share
        seconds = log.total_seconds
        self._observers.on_progress(
            Progress(
                state=state,
                phase="sweep" if sweeping else "lbfgs",
                epoch=len(log.losses),
                epochs=planned,
                loss=log.losses[-1] if log.losses else math.nan,
                seconds=seconds,
                seconds_left=seconds / done * (planned - done) if done > 0 and state == "running" else 0.0,
                evaluations=log.evaluations,
                message=words,
                warning=self._warning,
            )
        )

    def _say(self, words: str) -> None:
        self._message = "; ".join(part for part in (self._message, words) if part)

    def _result(self, found: TileSet) -> RefineResult:
        """Combine the tiles to a result."""
        layout, first = self._problem.layout, self._ended[0]
        whole = np.zeros(layout.size, np.float32)
        gradient: Array | None = np.zeros(layout.size, np.float32)
        for tile in self._tiles:
            vector, derivative = vector_and_gradient(found.read(tile.number))
            add_part(layout, whole, tile, vector)
            if derivative is None:
                gradient = None
            elif gradient is not None:
                add_part(layout, gradient, tile, derivative)
        self._log = state_of(found.read(0))[1]
        ended: State = "failed" if first["wrong"] else "stopped" if first["stopped"] else "done"
        if ended == "stopped":
            self._say("stopped on request")
        self._say(first["wrong"])
        rest = None
        if ended == "done":
            held = sum(map(len, self._held))
            rest = convergence(self._log, held, at_rest=first["at_rest"])
            if rest is not None:
                self._say(NOTHING_LOWER if first["at_rest"] else rest.sentence)
        deviation = self._deviation(whole, gradient)
        self._say(self._warning)
        self._tell(self._message or self._problem.strategy.reason, sweeping=gradient is None, state=ended)
        name = f"{first['backend']}, {len(self._tiles)} workers"
        outcome = Outcome(whole, self._log, ended, self._message, modulus_fixed=False)
        return replace(outcome.result(self._problem, name), phase_deviation=deviation, convergence=rest)

    def _deviation(self, vector: Array, gradient: Array | None) -> PhaseDeviation | None:
        """Standard deviation of the phase by noise; None if it is not requested or cannot be determined."""
        preset, problem, context = self._preset, self._problem, self._context
        wanted = preset.object.phase_deviation and preset.refined.update_obj
        if not wanted or not self._log.losses or not np.isfinite(vector).all():
            return None
        try:
            with closing(open_backend(context.backend, problem.multislice, context.threads)) as backend:
                moved = None if gradient is None else backend.xp.asarray(gradient)
                end = EndOfRun.of(
                    problem, backend, (backend.xp.asarray(vector), moved), self._log.phases, problem.terms
                )
            return phase_deviation(problem, end, context, preset.solver.seed)
        except PtyliveError as error:
            self._say(f"the standard deviation of the phase could not be estimated: {error.line()}")
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


def _kept(crew: Crew, serial: int, tile: int) -> bytes:
    return crew.kept(tile, serial)
