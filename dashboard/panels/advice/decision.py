"""Trials of thickness and slices before a refinement: started by a click, their result goes into the form."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import number, seconds

ASK_EVERY_S = 1.0
RUNS = frozenset({"running", "stopping"})
MOST_CHARACTERS = 300
"""Largest length of a displayed sentence."""


class Form(Protocol):
    """The refine form."""

    def preset(self) -> dict[str, Any]:
        """Settings in the form."""
        ...

    def take_over(self, values: Mapping[str, Any]) -> list[str]:
        """Put settings into the form."""
        ...


class DecisionAdvice(Quiet):
    """Trials of thickness and slices; ``form``: the refine form, filled with the results that this page requested."""

    def __init__(self, orders: Orders, form: Callable[[], Form]) -> None:
        self._orders, self._form = orders, form
        self._told: dict[str, Any] = {}
        self._uid: str | None = None
        self._asked_at = -ASK_EVERY_S
        self._mine = self._can = False

    def follow(self, seen: Seen) -> None:
        """Request the progress, while trials run and once for every scan."""
        state = seen.view.state
        if state.uid != self._uid:
            self._uid, self._told, self._asked_at, self._mine = state.uid, {}, -ASK_EVERY_S, False
        self._can = seen.view.connected and bool(state.uid) and not seen.looking_back
        knows = bool(self._told) and self._told.get("state") not in RUNS
        if not seen.view.connected or not state.uid or knows or time.monotonic() - self._asked_at < ASK_EVERY_S:
            return
        self._asked_at = time.monotonic()
        uid = state.uid
        self._orders.ask("decide_status", lambda reply: self._take(reply) if uid == self._uid else None)

    def _take(self, reply: Reply) -> None:
        self._told = {**reply, "state": str(reply.get("state", "none"))}
        if self._mine and self._told["state"] not in RUNS:
            self._mine = False
            self._fill()

    def _fill(self) -> None:
        """Add the results to the settings in the form."""
        slices, thickness_A = self._told.get("num_slices"), self._told.get("total_thickness_A")
        if self._told["state"] != "done" or not isinstance(slices, int):
            return
        others = {name: value for name, value in self._form().preset().items() if name != "total_thickness_A"}
        found: dict[str, Any] = {"num_slices": slices}
        if isinstance(thickness_A, int | float):
            found["total_thickness_A"] = round(thickness_A, 1)
        self._form().take_over({**others, **found})

    def press(self, request: Request) -> None:
        """Start the trials, or cancel them."""
        if request.key == "stop":
            self._orders.send("decide_stop", "the trials were cancelled")
        elif request.key == "start" and self._can:
            self._mine, self._told, self._asked_at = True, {"state": "running", "message": "…"}, time.monotonic()
            self._orders.send(
                "decide", "trials have started; they fill in the form when they end", preset=self._form().preset()
            )

    def takers(self) -> Takers:
        """Handlers of the button and its cancel."""
        return {"decide": self.press}

    def marks(self) -> Mapping[str, str]:
        """Whether trials are running."""
        runs = self._told.get("state") in RUNS
        return {"decide": "on" if runs else "off", "decide_start": "on" if self._can and not runs else "off"}

    def texts(self) -> Mapping[str, str]:
        """Progress of the trials, or their results."""
        return {"decide_said": self._said()[:MOST_CHARACTERS]}

    def _said(self) -> str:
        told = self._told
        state = told.get("state", "none")
        if state in RUNS:
            return f"finding the thickness: {told.get('message') or '…'}"
        if state == "failed":
            return f"no thickness found: {told.get('message')}"
        slices, range_A, thickness_A = told.get("num_slices"), told.get("range_A"), told.get("total_thickness_A")
        if state != "done" or not isinstance(slices, int):
            return ""
        takes = told.get("seconds")
        after = f"; a refinement takes about {seconds(float(takes))}" if isinstance(takes, int | float) else ""
        if slices == 1 or not isinstance(thickness_A, int | float):
            why = next((str(one) for one in told.get("said") or () if str(one).startswith("one slice")), "one slice")
            return f"{why}{after}"
        between = f"{range_A[0]:.3g} to {range_A[1]:.3g}" if isinstance(range_A, list) else number(thickness_A)
        return f"thickness {between} Å: {slices} slices of {number(thickness_A / slices, 2)} Å{after}"
