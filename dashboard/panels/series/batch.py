"""Scans of the library that are refined together: chosen there, followed in a table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.series import BatchReply, understood
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.dashboard.panels.series.together import TogetherPanel
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import number, seconds
from ptylive.schema import PtyliveError
from ptylive.schema.settings_text import read_json

ASK_EVERY_S = 1.0
MOST_ROWS = 200
WORDS: Mapping[str, str] = {
    "waiting": "waits",
    "running": "running",
    "done": "done",
    "stopped": "stopped",
    "failed": "failed",
}


class BatchPanel:
    """The table of a batch. ``preset``: settings of the refine form; ``written``: gets the reply that names a file.

    ``started``: shows a refinement of several scans that has begun.
    """

    def __init__(
        self,
        orders: Orders,
        place: PlaceChoice,
        preset: Callable[[], dict[str, Any]],
        written: Callable[[Reply], None],
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.together = TogetherPanel(orders, preset, started)
        self._orders, self._place, self._preset, self._written = orders, place, preset, written
        self._status = BatchReply()
        self._request_time = -ASK_EVERY_S
        self._can = False

    def follow(self, view: FeedView, *, on_show: bool, free: bool) -> None:
        """Request the table while it is displayed; ``free``: whether buttons may be pressed."""
        self._can = free
        self.together.follow(view, free=free)
        if on_show and view.connected and time.monotonic() - self._request_time > ASK_EVERY_S:
            self._request_time = time.monotonic()
            self._orders.ask("batch_status", self._take)

    def _take(self, reply: Reply) -> None:
        self._status = understood(BatchReply, reply)

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of requests, by kind."""
        return {"batch": self.press, **self.together.takers()}

    def press(self, request: Request) -> None:
        """Refine the chosen scans, retry those that failed, stop, or have the table written."""
        if not self._can:
            self._orders.say("not now: wait a moment")
        elif request.key == "start":
            self._start(chosen(request.value), retry=False)
        elif request.key == "retry":
            self._start([row.recording for row in self._status.rows if row.state == "failed"], retry=True)
        elif request.key == "stop":
            self._orders.send("batch_stop", "stopping: unfinished scans are continued next time")
        elif request.key == "table":
            self._orders.send("batch_table", "table written", self._offer)

    def _start(self, names: list[str], *, retry: bool) -> None:
        preset = self._preset()
        try:
            Preset.from_mapping(preset)
        except PtyliveError as error:
            self._orders.say(f"settings of the Refine view: {error.line()}")
            return
        if not names:
            self._orders.say("no scan is selected: tick some")
            return
        message = f"{len(names)} scan{'s' * (len(names) != 1)} to refine"
        self._request_time = -ASK_EVERY_S
        options: dict[str, Any] = {**self._place.arguments(), **({"retry": True} if retry else {})}
        self._orders.send("batch", message, recordings=names, preset=preset, **options)

    def _offer(self, reply: Reply) -> None:
        self._written({"files": [str(reply.get("path", ""))]})

    def lists(self) -> dict[str, Any]:
        """The table."""
        status = self._status
        rows = [
            {
                "name": PurePath(row.recording).stem,
                "state": row.state,
                "cells": [
                    WORDS.get(row.state, row.state),
                    row.reason or row.doing or "\n".join(row.remarks),
                    number(row.loss, 5) if row.loss is not None else "",
                    f"{row.epoch} epochs" if row.epoch else "",
                    seconds(row.seconds) if row.seconds else "",
                ],
            }
            for row in status.rows[:MOST_ROWS]
        ]
        return {"batch": {"rows": rows, "said": self._summary()}, **self.together.lists()}

    def _summary(self) -> str:
        status = self._status
        counts = Counter(row.state for row in status.rows)
        known = [f"{counts[state]} {word}" for state, word in WORDS.items() if counts[state]]
        place = f", {status.place}" if status.place and status.state in ("running", "stopping") else ""
        head = f"{', '.join(known)}{place}" if known else "starting" if status.state == "running" else ""
        return f"{head}: {status.message}" if status.message and head else status.message or head

    def marks(self) -> dict[str, str]:
        """Which buttons can be pressed."""
        status = self._status
        runs = status.state in ("running", "stopping")
        failed = any(row.state == "failed" for row in status.rows)
        return {
            "batch": status.state,
            "batch_start": "on" if self._can and not runs else "off",
            "batch_stop": "on" if self._can and status.state == "running" else "off",
            "batch_retry": "on" if self._can and failed and not runs else "off",
            "batch_table": "on" if self._can and status.rows else "off",
            **self.together.marks(),
        }


def chosen(text: str) -> list[str]:
    """Names of recordings as the page sends them."""
    try:
        plain = read_json(text or "[]", "the choice")
    except (PtyliveError, ValueError):
        return []
    return [name for name in plain if isinstance(name, str)] if isinstance(plain, list) else []
