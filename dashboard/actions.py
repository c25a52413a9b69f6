"""What a viewer has done with refinements of the scan that is shown: start, stop, go on, save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.panels.series.place import PlaceChoice
from ptylive.schema import PtyliveError


class RefineActions:
    """``queues``: whether one that is asked for now waits in line; ``show``: goes to the Refine view."""

    def __init__(
        self, orders: Orders, place: PlaceChoice, queues: Callable[[], bool], show: Callable[[], None]
    ) -> None:
        self._orders, self._place, self._queues, self._show = orders, place, queues, show

    def refine(self, values: dict[str, Any]) -> None:
        """Start one with the settings of the form, or put it in line."""
        try:
            Preset.from_mapping(values)
        except PtyliveError as error:
            self._orders.say(error.line())
            return
        where = self._place.arguments()
        if self._queues():
            self._orders.send("refine", "refinement put in line", preset=values, queue=True, **where)
        else:
            self._orders.send("refine", "refinement started", self._shown, preset=values, **where)

    def stop(self) -> None:
        """Stop the one that runs."""
        self._orders.send("refine_stop", "stopping the refinement")

    def resume(self, **more: int) -> None:
        """Go on with the last one, where the page now says."""
        where = self._place.arguments()
        self._orders.send("refine_resume", "going on from where it ended", self._shown, **more, **where)

    def save(self) -> None:
        """Write maps and calibration."""
        self._orders.send("save", "saved")

    def _shown(self, _reply: dict[str, Any]) -> None:
        self._show()
