"""What a viewer can do with refinements of the displayed scan: start, stop, resume, save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.dashboard.requests import Request, as_plain
from ptylive.schema import PtyliveError

MOST_BETWEEN = 10_000
"""Largest number of epochs between two pictures of a film."""


class RefineActions:
    """Starts, stops and resumes refinements. ``queues``: whether a new run would wait in line.

    ``show``: switches to the Refine view; ``stored``: the stored run on display, if any; ``written``: gets replies that
    name files.
    """

    def __init__(
        self,
        orders: Orders,
        place: PlaceChoice,
        queues: Callable[[], bool],
        show: Callable[[], None],
        stored: Callable[[], str],
        written: Callable[[dict[str, Any]], None],
    ) -> None:
        self._orders, self._place, self._queues, self._show = orders, place, queues, show
        self._stored, self._written = stored, written
        self.every = 0
        """Number of epochs between the pictures kept for a film; 0: no film."""

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of the page's requests."""
        return {"film": self.film}

    def film(self, request: Request) -> None:
        """Set how often pictures of future refinements are kept, or request the film of the displayed run."""
        if request.key == "show":
            self._orders.send("film", "film written", self._written, **self._run())
            return
        typed = as_plain(request.value) if request.value.strip() else 0.0
        if not isinstance(typed, float) or not typed.is_integer() or not 0 <= typed <= MOST_BETWEEN:
            self._orders.say(f"give the number of epochs between pictures of a film, up to {MOST_BETWEEN}")
            return
        self.every = int(typed)
        epochs = "epoch" if self.every == 1 else f"{self.every} epochs"
        self._orders.say(
            f"later runs keep a picture every {epochs} for their film" if self.every else "no films are kept"
        )

    def _run(self) -> dict[str, Any]:
        return {"run": name} if (name := self._stored()) else {}

    def refine(self, values: dict[str, Any]) -> None:
        """Start a refinement with the settings of the form, or put it in line."""
        try:
            Preset.from_mapping(values)
        except PtyliveError as error:
            self._orders.say(error.line())
            return
        place = self._place.arguments() | ({"history": self.every} if self.every else {})
        if self._queues():
            self._orders.send("refine", "refinement queued", preset=values, queue=True, **place)
        else:
            self._orders.send("refine", "refinement started", self._on_started, preset=values, **place)

    def stop(self) -> None:
        """Stop the running refinement."""
        self._orders.send("refine_stop", "stopping the refinement")

    def resume(self, **options: Any) -> None:
        """Resume the stored run on display, or otherwise the last refinement, at the place the page selects."""
        place = self._place.arguments() | self._run()
        self._orders.send("refine_resume", "continuing from where it ended", self._on_started, **options, **place)

    def save(self) -> None:
        """Write maps and calibration."""
        self._orders.send("save", "saved")

    def _on_started(self, _reply: dict[str, Any]) -> None:
        self._show()
