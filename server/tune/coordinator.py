"""A tuning: choosing the next trial, following its worker, and finally comparing start and best on other patterns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.application.tuning.estimates import enough, findings
from ptylive.application.tuning.landscape import Landscape
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import FinishedTrial, TrialRequest, Trials, filled
from ptylive.schema import PtyliveError, RefinementError
from ptylive.server.refinement.job_process import Launch, RunningJob
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.running_jobs import RunningJobs

POLL_S = 0.2
EVERY = 5
"""Every fifth trial is made at the minimum of the fit through all trials so far."""
MOST_LOST = 3
"""Processes in a row that ended without completing a trial, after which the trials are taken to be the cause."""
CONFIRM = 1_000_000
"""First number of trials that do not belong to Optuna."""
START, BEST = "start", "best"
SPLIT = 1
"""Choice of held-out patterns for the final comparison, different from those in the trials."""


@dataclass(frozen=True)
class TuneRequest:
    """What to tune. ``start``: values to begin with, if every parameter has one; ``job``: sent to every worker."""

    over: tuple[Range, ...]
    trials: int
    sweeps: int
    start: Mapping[str, Any] | None
    job: RefineJob


@dataclass
class _Task:
    """A trial assigned to a worker, or waiting to be."""

    number: int
    values: Mapping[str, Any]
    split: int = 0
    groups: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        return {"try": {"trial": self.number, "values": dict(self.values), "split": self.split}}


@dataclass(frozen=True)
class Standing:
    """How far a tuning is."""

    tried: tuple[FinishedTrial, ...]
    under_way: int
    best: float | None
    doing: str = ""


class Tuning:
    """A tuning that makes trials through ``launch``; each call of ``places`` returns how many may run at a time."""

    def __init__(self, request: TuneRequest, trials: Trials, launch: Launch, places: Callable[[], int]) -> None:
        self._request, self._trials, self._launch, self._places = request, trials, launch, places
        self._changed = threading.Condition(threading.RLock())
        """Held while trials, tasks and running jobs change."""
        self._tasks: dict[int, _Task] = {}
        """Tasks by the number of the worker that has them."""
        self._waiting: list[_Task] = []
        self._running = RunningJobs(self._changed, "trials")
        self._confirming: dict[str, FinishedTrial | None] | None = None
        self._fault: OSError | PtyliveError | None = None
        self._doing = ""

    def run(
        self, should_stop: Callable[[], bool] = lambda: False, on_change: Callable[[Standing], None] = lambda now: None
    ) -> list[FinishedTrial]:
        """Make the missing trials, then compare start and best on patterns that were not used to judge any trial.

        ``should_stop`` is called several times a second; when true, running trials are abandoned, and a later call
        repeats them. Raises PtyliveError if no trial of the scan is possible, or if a cluster has gone; OSError if the
        folder cannot be written.
        """
        shown: Standing | None = None
        try:
            while True:
                if should_stop():
                    self._running.stop()
                with self._changed:
                    self._start_more()
                    if not self._running and (self._running.stopping or not self._has_tasks()):
                        break
                    self._changed.wait(POLL_S)
                    fault, now = self._fault, self._standing()
                if fault is not None:
                    raise fault
                if now != shown:
                    on_change(now)
                    shown = now
        finally:
            self._running.end()
        if self._fault is not None:
            raise self._fault
        return self._trials.ended()

    def _standing(self) -> Standing:
        tried = tuple(self._trials.ended())
        done = [trial.last for trial in tried if trial.state == "done" and trial.last is not None]
        return Standing(tried, len(self._tasks), min(done, default=None), self._doing)

    # -- what is to be done -------------------------------------------------------------------------------------------

    def _has_tasks(self) -> bool:
        """Return whether any task is left to assign, or is with a worker."""
        if self._waiting or self._tasks or len(self._trials.ended()) < self._request.trials:
            return True
        return self._begin_to_confirm()

    def _next(self) -> _Task | None:
        """Return the next task, if there is one now."""
        if self._waiting:
            return self._waiting.pop(0)
        under_way = sum(task.number < CONFIRM for task in self._tasks.values())
        if len(self._trials.ended()) + under_way < self._request.trials:
            trial = self._ask(under_way)
            return _Task(trial.number, trial.values)
        if not self._tasks and self._begin_to_confirm():
            return self._waiting.pop(0)
        return None

    def _ask(self, under_way: int) -> TrialRequest:
        """Choose the next trial: first the start, and regularly the minimum of the fit through all trials."""
        request, tried = self._request, self._trials.ended()
        if request.start is not None and not tried and not under_way:
            return self._trials.ask(request.start)
        if (len(tried) + under_way) % EVERY == 0 and enough(request.over, tried, request.sweeps):
            return self._trials.ask(_lowest(request.over, tried, request.sweeps))
        return self._trials.ask()

    def _begin_to_confirm(self) -> bool:
        """Queue trials of start and best with other patterns held out, unless done; return whether any are needed."""
        if self._confirming is not None:
            return bool(self._waiting)
        request, tried = self._request, self._trials.ended()
        if request.start is None or not enough(request.over, tried, request.sweeps):
            return False
        best = findings(request.over, tried, request.sweeps).values
        known = self._trials.confirmed
        if known.get(BEST, {}).get("values") == best:
            self._confirming = {}
            return False
        self._confirming = {START: None, BEST: None}
        self._waiting = [_Task(CONFIRM + k, values, SPLIT) for k, values in enumerate((request.start, best))]
        return True

    # -- workers ------------------------------------------------------------------------------------------------------

    def _start_more(self) -> None:
        while (
            not self._running.stopping
            and self._fault is None
            and len(self._running) < self._places()
            and self._needs_worker()
        ):
            self._running.begin(self._running.begun, self._worker)

    def _needs_worker(self) -> bool:
        """Return whether another worker would have something to do."""
        idle = len(self._running) - len(self._tasks)
        remaining = self._request.trials - len(self._trials.ended()) - len(self._tasks)
        return max(remaining, len(self._waiting)) > idle or (not self._running and self._has_tasks())

    def _worker(self, number: int) -> None:
        """Run a worker from start to end, in its own thread, restarting it if it was killed."""
        try:
            lost = 0
            while not self._running.stopping and self._fault is None:
                done_before = len(self._trials.ended())
                if self._served(number):
                    return
                lost = 0 if len(self._trials.ended()) > done_before else lost + 1
                if lost >= MOST_LOST:
                    raise RefinementError(
                        f"{MOST_LOST} processes in a row died during a trial", "try a smaller --patterns"
                    )
        except (OSError, PtyliveError) as error:
            self._fault = error
        except Exception as error:
            self._fault = RefinementError(f"the trials failed: {error!r}")
        finally:
            with self._changed:
                self._give_back(number)

    def _served(self, number: int) -> bool:
        """Serve one process; return whether it ended regularly. Raises PtyliveError if no trial can be made at all."""
        running = self._launch(self._request.job)
        ended: Mapping[str, Any] = {}
        for message in self._running.messages(number, running):
            if message["kind"] in ("ended", "failed"):
                ended = message
            else:
                self._handle(number, running, message)
        if ended.get("kind") == "failed" and not self._running.stopping:
            raise PtyliveError(str(ended["message"]))
        return bool(ended)

    def _handle(self, number: int, running: RunningJob, message: Mapping[str, Any]) -> None:
        kind = message["kind"]
        with self._changed:
            task = self._tasks.get(number)
            if kind == "ready" and task is not None:  # on another machine: the first was lost
                task.groups.clear()
                running.tell(task.message())
            elif kind == "ready":
                self._hand_out(number, running)
            elif task is not None and message.get("trial") == task.number:
                if kind == "sweep":
                    self._note_sweep(task, running, message)
                elif kind == "tried":
                    del self._tasks[number]
                    self._note_end(task, message)
                    self._hand_out(number, running)
            elif kind == "note":
                self._doing = str(message["message"])
            self._changed.notify_all()

    def _hand_out(self, number: int, running: RunningJob) -> None:
        """Give a worker its next task once there is one; if none is left, let the worker end."""
        while not self._running.stopping and self._fault is None:
            task = self._next()
            if task is not None:
                self._tasks[number] = task
                running.tell(task.message())
                return
            if not self._tasks:
                break
            self._changed.wait(POLL_S)
        running.tell({"stop": True})

    def _note_sweep(self, task: _Task, running: RunningJob, message: Mapping[str, Any]) -> None:
        sweep, groups = int(message["sweep"]), tuple(float(loss) for loss in message["groups"])
        if sweep in task.groups:
            return
        task.groups[sweep] = groups
        if task.number < CONFIRM and self._trials.report(task.number, sweep, groups):
            running.tell({"prune": task.number})

    def _note_end(self, task: _Task, message: Mapping[str, Any]) -> None:
        state = str(message["state"])
        if state == "stopped":
            self._give_up_task(task)
            return
        tried = FinishedTrial(
            task.number, task.values, state, task.groups, float(message["seconds"]), str(message["reason"])
        )
        if task.number < CONFIRM:
            self._trials.end(tried)
            return
        assert self._confirming is not None  # noqa: S101  (its number comes from there)
        self._confirming[(START, BEST)[task.number - CONFIRM]] = tried
        if None not in self._confirming.values():
            self._trials.confirm({name: _plain(item, self._request.sweeps) for name, item in self._confirming.items()})

    def _give_back(self, number: int) -> None:
        """Put the task of a lost worker back into the queue."""
        task = self._tasks.pop(number, None)
        if task is None:
            return
        if self._running.stopping or self._fault is not None:
            self._give_up_task(task)
        else:
            task.groups.clear()
            self._waiting.insert(0, task)

    def _give_up_task(self, task: _Task) -> None:
        if task.number < CONFIRM:
            self._trials.give_up(task.number)


def _lowest(over: Sequence[Range], tried: Sequence[FinishedTrial], sweeps: int) -> dict[str, Any]:
    with_groups, groups = filled(tried, sweeps)
    landscape = Landscape.of(over, [trial.values for trial in with_groups], groups)
    return landscape.values(landscape.lowest())


def _plain(tried: FinishedTrial | None, sweeps: int) -> dict[str, Any]:
    if tried is None or sweeps not in tried.groups:
        return {
            "values": {} if tried is None else dict(tried.values),
            "groups": [],
            "reason": tried.reason if tried else "",
        }
    return {"values": dict(tried.values), "groups": list(np.asarray(tried.groups[sweeps], dtype=float)), "reason": ""}
