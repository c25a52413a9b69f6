"""One tile's share of a run: the solvers of a refinement on one machine, in lockstep with those of the other tiles.

All tiles make the same decisions from the same numbers, so there is no leader. The first one reads the clock, and
requests that states be saved; a request travels with the next sum, and all tiles save the state after the same step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.backend.multislice.problem import MultisliceBackend
from ptylive.engine.refine.parameters.device import on_device
from ptylive.engine.refine.parameters.terms import Damping
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.course import Course
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.lbfgs import LbfgsState
from ptylive.engine.refine.solvers.objective import Objective
from ptylive.engine.refine.tiles.exchange import KEEP, STOP, Exchange
from ptylive.engine.refine.tiles.links import Link, LinkLost
from ptylive.engine.refine.tiles.packing import packed, unpacked
from ptylive.engine.refine.tiles.tile_objective import TileObjective
from ptylive.engine.refine.tiles.tile_part import TilePart
from ptylive.schema.errors import PtyliveError
from ptylive.schema.model import Array

REPORT_SECONDS = 0.25
KEEP_SECONDS = 10.0
KEPT = 2
"""States kept until they are fetched; no more are made until the oldest has been fetched."""
Tell = Callable[[Mapping[str, Any]], None]


class TileRun:
    """The run of one tile; :meth:`run` is called once, all other methods from other threads."""

    def __init__(
        self, part: TilePart, link: Link, *, backend: str = "auto", threads: int = 1, keep_s: float = KEEP_SECONDS
    ) -> None:
        self._part, self._backend_name, self._threads, self._keep_s = part, backend, threads, keep_s
        self._exchange = Exchange(part.tile, link)
        self._lock = threading.Lock()
        self._saved: dict[int, tuple[checkpoints.SolverState, Log]] = {}
        self._serial = 0
        self._ended = threading.Event()
        self._log = Log()
        self._epoch_start = self._last_report = self._last_saved = time.monotonic()

    def stop(self) -> None:
        """Request that all tiles end after the current step, and save its state."""
        self._exchange.wish(STOP)

    def end(self) -> None:
        """Abandon the run; the link must wake threads that wait for messages."""
        self._ended.set()

    def kept(self, serial: int) -> bytes:
        """An announced state with its log; see :func:`state_of`. LookupError if it no longer exists."""
        with self._lock:
            state, log = self._saved[serial]
            for older in [number for number in self._saved if number < serial]:
                del self._saved[older]
        arrays, plain = checkpoints.encoded(state)
        return packed({"state": plain, "log": asdict(log)}, arrays)

    def run(self, report: Tell, begin: bytes | None = None) -> None:
        """Run from the start, or from a saved state. Reports how it ended in all cases."""
        try:
            with closing(open_backend(self._backend_name, self._part.multislice, self._threads)) as backend:
                report(self._run(backend, report, begin))
        except LinkLost as error:
            report({"kind": "lost", "message": str(error)})
        except PtyliveError as error:
            report({"kind": "failed", "message": error.line()})
        except MemoryError:
            report({"kind": "failed", "message": "not enough memory for this tile: use more workers"})
        except Exception as error:
            report({"kind": "failed", "message": f"a tile failed: {error!r}"})

    def _run(self, backend: MultisliceBackend, report: Tell, begin: bytes | None) -> Mapping[str, Any]:
        part, xp, started = self._part, backend.xp, time.monotonic()
        course = Course.of(part.plan, self._objective(backend), part.scan_rows).without(part.held)
        state: checkpoints.SolverState = course.sweeps.init(xp.asarray(part.start))
        if begin is not None:
            saved, self._log = state_of(begin)
            state = on_device(saved, xp)
            course = course.continuing(state, self._log)
        stopped = False
        while not stopped and not course.finished(state):
            self._pause()
            before, (state, passes) = state, course.advanced(state)
            self._log = self._log.with_evaluations(passes)
            self._end_epoch(course, before, state)
            course = course.continuing(state, self._log)
            self._report_if_due(course, state, report)
            stopped, keep = self._exchange.agreed()
            if keep and not stopped:
                self._keep(state, report)
        self._keep(state, report)
        return {
            "kind": "ended",
            "stopped": stopped,
            "wrong": course.problem_of(state, len(self._log.losses), stopped=stopped),
            "at_rest": isinstance(state, LbfgsState) and state.converged,
            "backend": backend.name,
            "seconds": time.monotonic() - started,
            "talk_seconds": self._exchange.seconds,
            "sent_bytes": self._exchange.sent_bytes,
        }

    def _objective(self, backend: MultisliceBackend) -> TileObjective:
        part = self._part
        own = Objective(
            backend,
            on_device(part.layout, backend.xp),
            len(part.tile.patterns),
            move_object=part.move_object,
            move_probe=part.move_probe,
            curvature_scale=part.curvature_scale,
            pause=self._pause,
        )
        damping = None if part.damping is None else Damping(part.damping)
        terms = tuple(on_device(term, backend.xp) for term in (damping, part.prior) if term is not None)
        return TileObjective(own, part.tile, self._exchange, part.count, terms=terms)

    def _pause(self) -> None:
        if self._ended.is_set():
            raise LinkLost("no longer wanted")

    def _end_epoch(self, course: Course, before: checkpoints.SolverState, after: checkpoints.SolverState) -> None:
        phase = course.epoch_between(before, after)
        if phase is not None:
            now, held = time.monotonic(), course.losses_of(self._part.held, after.vector)
            self._log = self._log.with_epoch(after.losses[-1], phase, now - self._epoch_start, held)
            self._epoch_start = now
            self._last_report = 0.0

    def _report_if_due(self, course: Course, state: checkpoints.SolverState, report: Tell) -> None:
        """The first tile reports for all, and requests that states be saved."""
        now = time.monotonic()
        if self._part.tile.number:
            return
        if now - self._last_saved >= self._keep_s:
            self._last_saved = now
            self._exchange.wish(KEEP)
        if now - self._last_report >= REPORT_SECONDS:
            self._last_report = now
            sweeping = not isinstance(state, LbfgsState)
            share = state.batch / course.sweeps.batches if not isinstance(state, LbfgsState) else 0.0
            report({"kind": "progress", "log": asdict(self._log), "sweeping": sweeping, "share": share})

    def _keep(self, state: checkpoints.SolverState, report: Tell) -> None:
        with self._lock:
            self._serial += 1
            self._saved[self._serial] = (state, self._log)
            for older in sorted(self._saved)[:-KEPT]:
                del self._saved[older]
        report({"kind": "kept", "serial": self._serial})


def state_of(saved: bytes) -> tuple[checkpoints.SolverState, Log]:
    """A tile's state and log, from the result of :meth:`TileRun.kept`. Raises RefinementError for damaged data."""
    plain, arrays = unpacked(saved)
    return checkpoints.decoded(arrays, plain["state"]), log_of_plain(plain["log"])


def log_of_plain(plain: Mapping[str, Any]) -> Log:
    """Create a log from the values of a message or a file."""
    return Log(
        losses=tuple(plain["losses"]),
        phases=tuple(plain["phases"]),
        seconds=tuple(plain["seconds"]),
        evaluations=plain["evaluations"],
        held=tuple(tuple(groups) for groups in plain["held"]),
    )


def vector_and_gradient(saved: bytes) -> tuple[Array, Array | None]:
    """From a tile's state: parameters, and the gradient of all patterns if it was computed."""
    state, _ = state_of(saved)
    return np.asarray(state.vector), np.asarray(state.gradient) if isinstance(state, LbfgsState) else None
