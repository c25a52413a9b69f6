"""Trials of settings: what is varied, the trials as they arrive, their results, and the way into the refine form."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.series import Trial, TuneReply, understood
from ptylive.dashboard.panels.series.form import TuneForm, form_of
from ptylive.dashboard.panels.series.landscape import LandscapeFigure
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import UNKNOWN, number, seconds

ASK_EVERY_S = 1.0
MOST_ROWS = 100
"""Number of trials in the table, the last ones."""
WORDS: Mapping[str, str] = {
    "none": "no trials yet",
    "kept": "trials of an earlier session",
    "running": "running",
    "stopping": "stopping",
    "done": "done",
    "stopped": "stopped",
    "failed": "failed",
}


class TunePanel:
    """The Tune view. ``preset``: settings of the refine form; ``use``: puts settings there and reports unknown ones."""

    def __init__(
        self,
        orders: Orders,
        place: PlaceChoice,
        preset: Callable[[], dict[str, Any]],
        use: Callable[[dict[str, Any]], None],
    ) -> None:
        self._orders, self._place, self._preset, self._use = orders, place, preset, use
        self.landscape = LandscapeFigure()
        self._status = TuneReply()
        self._uid: str | None = None
        self._request_time = -ASK_EVERY_S
        self._chosen = ""
        self._wrong: dict[str, str] = {}
        self._can = False

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return (self.landscape.plot,)

    def follow(self, view: FeedView, *, on_show: bool, free: bool) -> None:
        """Request the trials while they are displayed; ``free``: whether buttons may be pressed."""
        state = view.state
        self._can = free and bool(state.uid)
        if state.uid != self._uid:
            self._uid, self._status, self._wrong, self._request_time = state.uid, TuneReply(), {}, -ASK_EVERY_S
            self._draw()
        if on_show and view.connected and state.uid and time.monotonic() - self._request_time > ASK_EVERY_S:
            self._request_time = time.monotonic()
            self._orders.ask("tune_status", self._take)

    def _take(self, reply: Reply) -> None:
        status = understood(TuneReply, reply)
        if status != self._status:
            self._status = status
            self._draw()

    def _draw(self) -> None:
        status = self._status
        names = [entry.name for entry in status.values]
        if self._chosen not in names:
            self._chosen = names[0] if names else ""
        if not names:
            self.landscape.show("", [], [], {})
            return
        k = names.index(self._chosen)
        points = [
            (float(entry.values[k]), entry.loss)
            for entry in status.trials
            if entry.state == "done" and entry.loss is not None and isinstance(entry.values[k], int | float)
        ]
        curve = next((entry for entry in status.curves if entry.get("name") == self._chosen), {})
        label = status.values[k].label
        self.landscape.show(label, [at for at, _ in points], [loss for _, loss in points], curve)

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of requests, by kind."""
        return {"tune": self.press, "landscape": self.choose}

    def choose(self, request: Request) -> None:
        """Draw the loss against another of the values."""
        self._chosen = request.name
        self._draw()

    def press(self, request: Request) -> None:
        """Start, resume, stop, or adopt the results."""
        if not self._can:
            self._orders.say("no scan to tune yet" if self._uid is None else "not now: wait a moment")
        elif request.key == "start":
            self._start(form_of(request.value))
        elif request.key == "resume" and self._status.asked:
            arguments = {**self._status.asked, "trials": self._trials(form_of(request.value))}
            self._send("continuing the trials", arguments)
        elif request.key == "stop":
            self._orders.send("tune_stop", "stopping; finished trials are kept")
        elif request.key == "use" and self._status.settings:
            self._take_over()

    def _trials(self, form: TuneForm) -> int:
        """Number of trials wanted; more than there are if these are all done."""
        wanted = form.number_of_trials()
        return wanted if wanted is not None else max(self._status.wanted, self._status.ended)

    def _start(self, form: TuneForm) -> None:
        over, self._wrong = form.checked()
        if self._wrong:
            self._orders.say("not started: see the marked fields")
            return
        arguments = {"over": over, "preset": self._preset()}
        trials = form.number_of_trials()
        self._send("trials started", arguments if trials is None else {**arguments, "trials": trials})

    def _send(self, message: str, arguments: Mapping[str, Any]) -> None:
        self._request_time = -ASK_EVERY_S
        self._orders.send("tune", message, **arguments, **self._place.arguments())

    def _take_over(self) -> None:
        """Put settings into the form, and values of the experiment into the calibration of this scan."""
        status = self._status
        self._use(dict(status.settings))
        if status.corrections:
            titles = {value.name: value.title for value in status.values}
            names = ", ".join(titles.get(name) or name for name in status.corrections)
            message = f"best settings copied to the form, and {names} to the calibration of this scan (undo reverts it)"
            self._orders.send("configure", message, values=dict(status.corrections))
        else:
            self._orders.say("best settings copied to the form")

    # -- what the page shows ------------------------------------------------------------------------------------------

    def texts(self) -> dict[str, str]:
        """Progress in words."""
        status = self._status
        doing = status.message or (f"{status.under_way} running" if status.under_way else "")
        count = (
            f"{status.ended} of {status.wanted} trials"
            if status.wanted
            else f"{status.ended} trials"
            if status.ended
            else ""
        )
        if status.other:
            doing = f"scan {status.other} is being tuned: stop it first, or wait"
        return {
            "tune_state": WORDS.get(status.state, status.state),
            "tune_count": count,
            "tune_doing": doing,
            "tune_where": status.place or UNKNOWN,
            "tune_best": number(min((t.loss for t in status.trials if t.loss is not None), default=None), 5),
        }

    def marks(self) -> dict[str, str]:
        """Which buttons can be pressed."""
        status = self._status
        runs = status.state in ("running", "stopping")
        resumable = status.state in ("stopped", "failed", "kept", "done") and bool(status.asked)
        return {
            "tune": status.state,
            "tune_start": "on" if self._can and not runs and not status.other else "off",
            "tune_stop": "on" if self._can and status.state == "running" else "off",
            "tune_resume": "on" if self._can and resumable and not status.other else "off",
            "tune_use": "on" if self._can and status.settings and not runs else "off",
        }

    def lists(self) -> dict[str, Any]:
        """The table of trials, their results, and what is wrong with the form."""
        status = self._status
        best = min((t.loss for t in status.trials if t.loss is not None), default=None)
        rows = [
            {
                "cells": [
                    str(entry.number + 1),
                    *(_value_text(v) for v in entry.values),
                    number(entry.loss, 5),
                    *_end_cells(entry),
                ],
                "state": entry.state,
                "best": entry.loss is not None and entry.loss == best,
            }
            for entry in reversed(status.trials[-MOST_ROWS:])
        ]
        head = ["", *(entry.label for entry in status.values), "loss", "time", ""] if rows else []
        return {
            "tune_table": {"head": head, "rows": rows},
            "tune_found": {
                "estimates": [{"text": entry.sentence, "told": entry.told} for entry in status.estimates],
                "said": status.sentences[1:] if status.estimates else status.sentences,
            },
            "tune_values": [{"name": v.name, "title": v.title, "on": v.name == self._chosen} for v in status.values],
            "tune_wrong": self._wrong,
        }


def _end_cells(trial: Trial) -> tuple[str, str]:
    word = {"done": "", "pruned": "stopped early: worse than others"}.get(trial.state, trial.reason or trial.state)
    return seconds(trial.seconds), word


def _value_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(float(value), 4)
