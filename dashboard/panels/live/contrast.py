"""Contrast of a picture by its histogram: two handles, percentiles, gamma; the chosen limits stay locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import Picture
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import limits as as_words
from ptylive.pictures.colours import Levels, levels

BINS = 96
OBJECT_PANEL = 11
"""Number of the object's panel on the page; those of the maps come before it."""
GAMMAS = (0.2, 5.0)
PERCENTILES = ((0.0, 100.0), (0.1, 99.9), (1.0, 99.0), (5.0, 95.0))
"""Percentiles that the buttons offer."""


class Contrast:
    """The histogram of one panel at a time, and the effect of its handles. ``object_figure``: of the refined object."""

    def __init__(self, panels: Sequence[MapPanel], object_figure: PictureFigure) -> None:
        self._panels, self._object = list(panels), object_figure
        self.panel: int | None = None
        self._picture: Picture | None = None
        self._histogram_key: tuple[object, ...] = ()
        self._histogram: dict[str, Any] = {}

    @property
    def _figure(self) -> PictureFigure | None:
        if self.panel is None:
            return None
        return self._object if self.panel == OBJECT_PANEL else self._panels[self.panel].view

    def ask(self, request: Request) -> None:
        """Open (and close) the histogram of a panel, set its handles, gamma or percentiles, or follow the data."""
        if request.panel != OBJECT_PANEL and request.panel >= len(self._panels):
            return
        if request.key == "open":
            self.panel = None if self.panel == request.panel else request.panel
            return
        self.panel = request.panel
        if request.key == "auto":
            self._hold(None)
            self._bend(1.0)
        elif request.key == "limits" and len(request.numbers) == 2 and request.numbers[0] < request.numbers[1]:
            self._hold((request.numbers[0], request.numbers[1]))
        elif request.key == "gamma" and len(request.numbers) == 1:
            self._bend(min(max(request.numbers[0], GAMMAS[0]), GAMMAS[1]))
        elif request.key == "percentiles" and tuple(request.numbers) in PERCENTILES and self._picture is not None:
            low, high = request.numbers
            self._hold(levels(self._picture.data, self._picture.visited, (low, high)))

    def _hold(self, span: Levels | None) -> None:
        if self.panel == OBJECT_PANEL:
            self._object.locked = span
        elif self.panel is not None:
            self._panels[self.panel].hold(span)

    def _bend(self, gamma: float) -> None:
        if self._figure is not None:
            self._figure.set_gamma(gamma)

    def follow(self, displayed: FeedView, refined: FeedView, object_name: str) -> None:
        """Find the picture for the histogram; vector maps have none."""
        if self.panel is None:
            self._picture = None
            return
        view = refined if self.panel == OBJECT_PANEL else displayed
        name = object_name if self.panel == OBJECT_PANEL else self._panels[self.panel].figures[0][1]
        picture = view.pictures.get(name)
        self._picture = None if picture is None or picture.wheel else picture

    def lists(self) -> Mapping[str, Any]:
        """What the page draws: bins, range, handles; empty if no histogram is open."""
        figure, picture = self._figure, self._picture
        if figure is None or picture is None:
            return {"contrast": {"panel": -1}}
        key = (self.panel, picture.name, picture.version)
        if key != self._histogram_key:
            self._histogram_key, self._histogram = key, histogram(picture)
        low, high = (float(v) for v in figure.limits)
        words = as_words(low, high)
        content = {**self._histogram, "limits": [low, high], "words": list(words), "units": picture.units}
        return {
            "contrast": {"panel": self.panel, "gamma": figure.gamma, "locked": figure.locked is not None, **content}
        }


def histogram(picture: Picture) -> dict[str, Any]:
    """Counts of BINS equal bins over all finite values, relative to the fullest one, and the ends of the range."""
    values = picture.data.ravel() if picture.visited is None else picture.data[picture.visited]
    values = values[np.isfinite(values)]
    if not values.size:
        return {"bins": [], "range": [0.0, 1.0]}
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, BINS, (low, high))
    return {"bins": [round(float(v), 3) for v in counts / max(int(counts.max()), 1)], "range": [low, high]}
