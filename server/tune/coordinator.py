"""A tuning: which trial is next, what its worker says, and at the end the start and the best on other patterns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.application.tuning.estimates import enough, findings
from ptylive.application.tuning.landscape import Landscape
from ptylive.application.tuning.ranges import Range
from ptylive.application.tuning.trials import Ask, Trials, Tried, filled
from ptylive.schema import PtyliveError, RefinementError
from ptylive.server.refinement.job_process import Launch, RunningJob
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.running_jobs import RunningJobs

POLL_S = 0.2
EVERY = 5
"""After every five trials one is made where the fit through all of them has its minimum."""
MOST_LOST = 3
"""Processes in a row that ended without a trial done: then it is the trials that end them."""
CONFIRM = 1_000_000
"""Numbers of trials that are not Optuna's begin here."""
START, BEST = "start", "best"
SPLIT = 1
"""The patterns that are held out at the end are others than in the trials."""


@dataclass(frozen=True)
class TuneRequest:
    """What is tuned. ``start``: values to begin with, where all have one; ``job``: given to every worker."""

    over: tuple[Range, ...]
    trials: int
    sweeps: int
    start: Mapping[str, Any] | None
    job: RefineJob


@dataclass
class _Task:
    """A trial that was given to a worker, or is going to be."""

    number: int
    values: Mapping[str, Any]
    split: int = 0
    groups: dict[int, tuple[float, ...]] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        return {"try": {"trial": self.number, "values": dict(self.values), "split": self.split}}


@dataclass(frozen=True)
class Standing:
    """How far a tuning is."""

    tried: tuple[Tried, ...]
    under_way: int
    best: float | None
    doing: str = ""


class Tuning:
    """Makes trials through ``launch``; ``places`` says how many at a time, whenever it is asked."""

    def __init__(self, request: TuneRequest, trials: Trials, launch: Launch, places: Callable[[], int]) -> None:
        self._request, self._trials, self._launch, self._places = request, trials, launch, places
        self._changed = threading.Condition(threading.RLock())
        """Held while trials, tasks and running jobs change."""
        self._tasks: dict[int, _Task] = {}
        """By the worker that has it."""
        self._waiting: list[_Task] = []
        self._running = RunningJobs(self._changed, "trials")
        self._confirming: dict[str, Tried | None] | None = None
        self._fault: OSError | PtyliveError | None = None
        self._doing = ""

    def run(
        self, should_stop: Callable[[], bool] = lambda: False, on_change: Callable[[Standing], None] = lambda now: None
    ) -> list[Tried]:
        """Make the trials that are missing, then compare start and best on patterns that no trial was judged by.

        ``should_stop`` is asked several times a second: what is under way then is tried again by a later call. Raises
        PtyliveError where the scan cannot be tried at all, or a cluster has gone; OSError where the folder cannot be
        written.
        """
        shown: Standing | None = None
        try:
            while True:
                if should_stop():
                    self._running.stop()
                with self._changed:
                    self._start_more()
                    if not self._running and (self._running.stopping or not self._missing()):
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
        done = [one.last for one in tried if one.state == "done" and one.last is not None]
        return Standing(tried, len(self._tasks), min(done, default=None), self._doing)

    # -- what is to be done -------------------------------------------------------------------------------------------

    def _missing(self) -> bool:
        """Whether something is left to be given to a worker, or with one."""
        if self._waiting or self._tasks or len(self._trials.ended()) < self._request.trials:
            return True
        return self._begin_to_confirm()

    def _next(self) -> _Task | None:
        """The next task, if there is one now."""
        if self._waiting:
            return self._waiting.pop(0)
        under_way = sum(task.number < CONFIRM for task in self._tasks.values())
        if len(self._trials.ended()) + under_way < self._request.trials:
            asked = self._ask(under_way)
            return _Task(asked.number, asked.values)
        if not self._tasks and self._begin_to_confirm():
            return self._waiting.pop(0)
        return None

    def _ask(self, under_way: int) -> Ask:
        """The start first; then, every so often, where the fit through all trials has its minimum."""
        request, tried = self._request, self._trials.ended()
        if request.start is not None and not tried and not under_way:
            return self._trials.ask(request.start)
        if (len(tried) + under_way) % EVERY == 0 and enough(request.over, tried, request.sweeps):
            return self._trials.ask(_lowest(request.over, tried, request.sweeps))
        return self._trials.ask()

    def _begin_to_confirm(self) -> bool:
        """Have start and best tried with other patterns held out, unless that was done; whether there is need."""
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
            and self._wanting()
        ):
            self._running.begin(self._running.begun, self._worker)

    def _wanting(self) -> bool:
        """Whether another worker would have something to do."""
        idle = len(self._running) - len(self._tasks)
        left = self._request.trials - len(self._trials.ended()) - len(self._tasks)
        return max(left, len(self._waiting)) > idle or (not self._running and self._missing())

    def _worker(self, number: int) -> None:
        """A worker from its start to its end, in a thread of its own; begun anew where it was killed."""
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
        """Talk to one process; whether it ended by itself. Raises PtyliveError where no trial can be made at all."""
        running = self._launch(self._request.job)
        ended: Mapping[str, Any] = {}
        for message in self._running.messages(number, running):
            if message["kind"] in ("ended", "failed"):
                ended = message
            else:
                self._heard(number, running, message)
        if ended.get("kind") == "failed" and not self._running.stopping:
            raise PtyliveError(str(ended["message"]))
        return bool(ended)

    def _heard(self, number: int, running: RunningJob, message: Mapping[str, Any]) -> None:
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
                    self._swept(task, running, message)
                elif kind == "tried":
                    del self._tasks[number]
                    self._kept(task, message)
                    self._hand_out(number, running)
            elif kind == "note":
                self._doing = str(message["message"])
            self._changed.notify_all()

    def _hand_out(self, number: int, running: RunningJob) -> None:
        """Give a worker its next task, once there is one; none is left: let it end."""
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

    def _swept(self, task: _Task, running: RunningJob, message: Mapping[str, Any]) -> None:
        sweep, groups = int(message["sweep"]), tuple(float(one) for one in message["groups"])
        if sweep in task.groups:
            return
        task.groups[sweep] = groups
        if task.number < CONFIRM and self._trials.report(task.number, sweep, groups):
            running.tell({"prune": task.number})

    def _kept(self, task: _Task, message: Mapping[str, Any]) -> None:
        state = str(message["state"])
        if state == "stopped":
            self._given_up(task)
            return
        tried = Tried(task.number, task.values, state, task.groups, float(message["seconds"]), str(message["reason"]))
        if task.number < CONFIRM:
            self._trials.end(tried)
            return
        assert self._confirming is not None  # noqa: S101  (where its number comes from)
        self._confirming[(START, BEST)[task.number - CONFIRM]] = tried
        if None not in self._confirming.values():
            self._trials.confirm({name: _plain(one, self._request.sweeps) for name, one in self._confirming.items()})

    def _give_back(self, number: int) -> None:
        """The task of a worker that is no more waits again."""
        task = self._tasks.pop(number, None)
        if task is None:
            return
        if self._running.stopping or self._fault is not None:
            self._given_up(task)
        else:
            task.groups.clear()
            self._waiting.insert(0, task)

    def _given_up(self, task: _Task) -> None:
        if task.number < CONFIRM:
            self._trials.give_up(task.number)


def _lowest(over: Sequence[Range], tried: Sequence[Tried], sweeps: int) -> dict[str, Any]:
    there, groups = filled(tried, sweeps)
    landscape = Landscape.of(over, [one.values for one in there], groups)
    return landscape.values(landscape.lowest())


def _plain(tried: Tried | None, sweeps: int) -> dict[str, Any]:
    if tried is None or sweeps not in tried.groups:
        return {
            "values": {} if tried is None else dict(tried.values),
            "groups": [],
            "reason": tried.reason if tried else "",
        }
    return {"values": dict(tried.values), "groups": list(np.asarray(tried.groups[sweeps], dtype=float)), "reason": ""}
