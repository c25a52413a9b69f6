"""Trials of settings: what is varied, the trials as they come, what they tell, and its way into the refine form."""

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
"""Trials in the table, the last ones."""
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
    """``preset``: the settings of the refine form; ``use``: puts settings there, and says what it did not know."""

    def __init__(
        self,
        orders: Orders,
        place: PlaceChoice,
        preset: Callable[[], dict[str, Any]],
        use: Callable[[dict[str, Any]], None],
    ) -> None:
        self._orders, self._place, self._preset, self._use = orders, place, preset, use
        self.landscape = LandscapeFigure()
        self._told = TuneReply()
        self._uid: str | None = None
        self._asked_at = -ASK_EVERY_S
        self._chosen = ""
        self._wrong: dict[str, str] = {}
        self._can = False

    @property
    def roots(self) -> tuple[object, ...]:
        """What the page places."""
        return (self.landscape.plot,)

    def follow(self, view: FeedView, *, on_show: bool, free: bool) -> None:
        """Ask for the trials while somebody looks at them; ``free``: somebody may press buttons."""
        state = view.state
        self._can = free and bool(state.uid)
        if state.uid != self._uid:
            self._uid, self._told, self._wrong, self._asked_at = state.uid, TuneReply(), {}, -ASK_EVERY_S
            self._draw()
        if on_show and view.connected and state.uid and time.monotonic() - self._asked_at > ASK_EVERY_S:
            self._asked_at = time.monotonic()
            self._orders.ask("tune_status", self._take)

    def _take(self, reply: Reply) -> None:
        told = understood(TuneReply, reply)
        if told != self._told:
            self._told = told
            self._draw()

    def _draw(self) -> None:
        told = self._told
        names = [one.name for one in told.values]
        if self._chosen not in names:
            self._chosen = names[0] if names else ""
        if not names:
            self.landscape.show("", [], [], {})
            return
        k = names.index(self._chosen)
        points = [
            (float(one.values[k]), one.loss)
            for one in told.trials
            if one.state == "done" and one.loss is not None and isinstance(one.values[k], int | float)
        ]
        curve = next((one for one in told.curves if one.get("name") == self._chosen), {})
        label = told.values[k].label
        self.landscape.show(label, [at for at, _ in points], [loss for _, loss in points], curve)

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Who takes which request."""
        return {"tune": self.press, "landscape": self.choose}

    def choose(self, request: Request) -> None:
        """Draw the loss against another of the values."""
        self._chosen = request.name
        self._draw()

    def press(self, request: Request) -> None:
        """Start, go on, stop, or take over what was found."""
        if not self._can:
            self._orders.say("no scan to tune yet" if self._uid is None else "not now: wait a moment")
        elif request.key == "start":
            self._start(form_of(request.value))
        elif request.key == "resume" and self._told.asked:
            asked = {**self._told.asked, "trials": self._trials(form_of(request.value))}
            self._send("continuing the trials", asked)
        elif request.key == "stop":
            self._orders.send("tune_stop", "stopping; finished trials are kept")
        elif request.key == "use" and self._told.settings:
            self._take_over()

    def _trials(self, form: TuneForm) -> int:
        """How many are wanted; more than there are where they are all done."""
        wanted = form.number_of_trials()
        return wanted if wanted is not None else max(self._told.wanted, self._told.ended)

    def _start(self, form: TuneForm) -> None:
        over, self._wrong = form.checked()
        if self._wrong:
            self._orders.say("not started: see the marked fields")
            return
        asked = {"over": over, "preset": self._preset()}
        trials = form.number_of_trials()
        self._send("trials started", asked if trials is None else {**asked, "trials": trials})

    def _send(self, said: str, asked: Mapping[str, Any]) -> None:
        self._asked_at = -ASK_EVERY_S
        self._orders.send("tune", said, **asked, **self._place.arguments())

    def _take_over(self) -> None:
        """Settings into the form, values of the experiment into the calibration of this scan."""
        told = self._told
        self._use(dict(told.settings))
        if told.corrections:
            titles = {one.name: one.title for one in told.values}
            names = ", ".join(titles.get(name) or name for name in told.corrections)
            said = f"best settings copied to the form, and {names} to the calibration of this scan (undo reverts it)"
            self._orders.send("configure", said, values=dict(told.corrections))
        else:
            self._orders.say("best settings copied to the form")

    # -- what the page shows ------------------------------------------------------------------------------------------

    def texts(self) -> dict[str, str]:
        """Where it stands, in words."""
        told = self._told
        doing = told.message or (f"{told.under_way} running" if told.under_way else "")
        count = f"{told.ended} of {told.wanted} trials" if told.wanted else f"{told.ended} trials" if told.ended else ""
        if told.other:
            doing = f"scan {told.other} is being tuned: stop it first, or wait"
        return {
            "tune_state": WORDS.get(told.state, told.state),
            "tune_count": count,
            "tune_doing": doing,
            "tune_where": told.place or UNKNOWN,
            "tune_best": number(min((t.loss for t in told.trials if t.loss is not None), default=None), 5),
        }

    def marks(self) -> dict[str, str]:
        """Which buttons can be pressed."""
        told = self._told
        runs = told.state in ("running", "stopping")
        more = told.state in ("stopped", "failed", "kept", "done") and bool(told.asked)
        return {
            "tune": told.state,
            "tune_start": "on" if self._can and not runs and not told.other else "off",
            "tune_stop": "on" if self._can and told.state == "running" else "off",
            "tune_resume": "on" if self._can and more and not told.other else "off",
            "tune_use": "on" if self._can and told.settings and not runs else "off",
        }

    def lists(self) -> dict[str, Any]:
        """The table of trials, what they tell, and what is wrong with the form."""
        told = self._told
        best = min((t.loss for t in told.trials if t.loss is not None), default=None)
        rows = [
            {
                "cells": [str(one.number + 1), *(_spoken(v) for v in one.values), number(one.loss, 5), *_how(one)],
                "state": one.state,
                "best": one.loss is not None and one.loss == best,
            }
            for one in reversed(told.trials[-MOST_ROWS:])
        ]
        head = ["", *(one.label for one in told.values), "loss", "time", ""] if rows else []
        return {
            "tune_table": {"head": head, "rows": rows},
            "tune_found": {
                "estimates": [{"text": one.sentence, "told": one.told} for one in told.estimates],
                "said": told.sentences[1:] if told.estimates else told.sentences,
            },
            "tune_values": [{"name": v.name, "title": v.title, "on": v.name == self._chosen} for v in told.values],
            "tune_wrong": self._wrong,
        }


def _how(trial: Trial) -> tuple[str, str]:
    word = {"done": "", "pruned": "stopped early: worse than others"}.get(trial.state, trial.reason or trial.state)
    return seconds(trial.seconds), word


def _spoken(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(float(value), 4)
