"""What leaves the page as files: a map as shown with its floats, and all maps side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import OVERWRITING

FORMATS = ("png", "tiff", "hspy")
MOST_CORRELATIONS = 3
"""Number of maps whose agreement is reported, best agreement first."""


class Exports:
    """Has the server write files, and lets the browser fetch them. ``offer``: returns the address of a file."""

    def __init__(self, orders: Orders, offer: Callable[[Path], str] | None) -> None:
        self._orders, self._offer = orders, offer
        self.downloads: list[dict[str, str]] = []
        """Names and addresses of the most recently written files."""

    @property
    def offers(self) -> bool:
        """Whether this page may fetch files."""
        return self._offer is not None

    def picture(self, name: str, figure: PictureFigure) -> None:
        """Write one of the server's pictures as it is shown, and its numbers; for a transform, the map itself."""
        shown, colours = figure.showing.removesuffix(OVERWRITING) == name, str(figure.colour_map)
        limits = [float(v) for v in figure.limits] if shown else None
        self._orders.send(
            "export", "exported", self.written, map=name, formats=FORMATS, colour_map=colours, limits=limits
        )

    def side_by_side(self) -> None:
        """Write maps and the refined object side by side."""
        self._orders.send("side_by_side", "", self._compared)

    def report(self) -> None:
        """Write maps, calibration and refinement as one page."""
        self._orders.send("report", "report written", self.written)

    def fetch(self, recordings: list[str]) -> None:
        """Let the browser fetch recordings with their results and exports."""
        if recordings:
            self._orders.send("fetch", "download with the links below", self.written, recordings=recordings)
        else:
            self._orders.say("no scan is selected: tick some")

    def _compared(self, reply: dict[str, Any]) -> None:
        self.written(reply)
        self._orders.say(agreement(reply))

    def written(self, reply: dict[str, Any]) -> None:
        """Let the browser fetch the files that a reply names."""
        files = [Path(file) for file in reply.get("files") or () if isinstance(file, str)]
        if self._offer is not None:
            self.downloads = [{"name": file.name, "href": self._offer(file)} for file in files]


def agreement(reply: dict[str, Any]) -> str:
    """How well the maps agree with the refinement, best first, in one line."""
    found = reply.get("correlation")
    known = {str(name): float(value) for name, value in found.items()} if isinstance(found, dict) else {}
    best = sorted(known, key=lambda name: -known[name])[:MOST_CORRELATIONS]
    if not best:
        return "side by side: link below"
    return f"correlation with {reply.get('run', 'the object')}: " + ", ".join(
        f"{map_name} {known[map_name]:.3f}" for map_name in best
    )
