"""Trials of thickness and slices before a refinement: started by a click, their result goes into the form."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import number, seconds, typeset

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
        self._status: dict[str, Any] = {}
        self._uid: str | None = None
        self._request_time = -ASK_EVERY_S
        self._started_here = self._can = False

    def follow(self, seen: Seen) -> None:
        """Request the progress, while trials run and once for every scan."""
        state = seen.view.state
        if state.uid != self._uid:
            self._uid, self._status, self._request_time, self._started_here = state.uid, {}, -ASK_EVERY_S, False
        self._can = seen.view.connected and bool(state.uid) and not seen.looking_back
        final = bool(self._status) and self._status.get("state") not in RUNS
        if not seen.view.connected or not state.uid or final or time.monotonic() - self._request_time < ASK_EVERY_S:
            return
        self._request_time = time.monotonic()
        uid = state.uid
        self._orders.ask("decide_status", lambda reply: self._take(reply) if uid == self._uid else None)

    def _take(self, reply: Reply) -> None:
        self._status = {**reply, "state": str(reply.get("state", "none"))}
        if self._started_here and self._status["state"] not in RUNS:
            self._started_here = False
            self._fill()

    def _fill(self) -> None:
        """Add the results to the settings in the form."""
        slices, thickness_A = self._status.get("num_slices"), self._status.get("total_thickness_A")
        if self._status["state"] != "done" or not isinstance(slices, int):
            return
        settings = {name: value for name, value in self._form().preset().items() if name != "total_thickness_A"}
        results: dict[str, Any] = {"num_slices": slices}
        if isinstance(thickness_A, int | float):
            results["total_thickness_A"] = round(thickness_A, 1)
        self._form().take_over({**settings, **results})

    def press(self, request: Request) -> None:
        """Start the trials, or cancel them."""
        if request.key == "stop":
            self._orders.send("decide_stop", "the trials were cancelled")
        elif request.key == "start" and self._can:
            self._started_here, self._status, self._request_time = (
                True,
                {"state": "running", "message": "…"},
                time.monotonic(),
            )
            self._orders.send(
                "decide", "trials have started; they fill in the form when they end", preset=self._form().preset()
            )

    def takers(self) -> Takers:
        """Handlers of the button and its cancel."""
        return {"decide": self.press}

    def marks(self) -> Mapping[str, str]:
        """Whether trials are running."""
        runs = self._status.get("state") in RUNS
        return {"decide": "on" if runs else "off", "decide_start": "on" if self._can and not runs else "off"}

    def texts(self) -> Mapping[str, str]:
        """Progress of the trials, or their results."""
        return {"decide_said": typeset(self._sentence()[:MOST_CHARACTERS])}

    def _sentence(self) -> str:
        status = self._status
        state = status.get("state", "none")
        if state in RUNS:
            return f"finding the thickness: {status.get('message') or '…'}"
        if state == "failed":
            return f"no thickness found: {status.get('message')}"
        slices, range_A, thickness_A = status.get("num_slices"), status.get("range_A"), status.get("total_thickness_A")
        if state != "done" or not isinstance(slices, int):
            return ""
        duration_s = status.get("seconds")
        duration = (
            f"; a refinement takes about {seconds(float(duration_s))}" if isinstance(duration_s, int | float) else ""
        )
        if slices == 1 or not isinstance(thickness_A, int | float):
            reason = next(
                (str(remark) for remark in status.get("said") or () if str(remark).startswith("one slice:")),
                "one slice",
            )
            return f"{reason}{duration}"
        limits = f"{range_A[0]:.3g} to {range_A[1]:.3g}" if isinstance(range_A, list) else number(thickness_A)
        return f"thickness {limits} Å: {slices} slices of {number(thickness_A / slices, 2)} Å{duration}"
