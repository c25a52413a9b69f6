"""The diffraction pattern: last or mean, linear or logarithmic, with the edge of the bright field."""

from __future__ import annotations

import json
from collections.abc import Callable

from bokeh.models import Circle, ColumnDataSource, InlineStyleSheet, RadioButtonGroup, Toggle

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.detectors import DetectorHandles
from ptylive.dashboard.panels.live.pick import HERE
from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import Picture
from ptylive.dashboard.theme import DISC_COLOUR
from ptylive.dashboard.words import UNKNOWN, number
from ptylive.pictures.colours import ColourMap

NO_PATTERN = "no pattern yet; click a map for one"
PATTERNS = ("pattern", "pattern_mean", HERE)
LABELS = ("last", "mean", "here")


class DiffractionPanel:
    """Shows one pattern in recorded orientation, coordinates in detector pixels."""

    def __init__(self, style: InlineStyleSheet, on_choice: Callable[[], None], orders: Orders) -> None:
        self.view = PictureFigure("diffraction", colour_map=ColourMap.INFERNO, scale_bar=False)
        self.which = RadioButtonGroup(
            name="diffraction_which", labels=list(LABELS), active=0, height=24, margin=0, stylesheets=[style]
        )
        self.log = Toggle(
            name="diffraction_log", label="log", active=True, width=42, height=24, margin=0, stylesheets=[style]
        )
        self.disc = ColumnDataSource(data={"x": [], "y": [], "radius": []})
        edge = Circle(x="x", y="y", radius="radius", fill_color=None, line_color=DISC_COLOUR, line_width=1.5)
        self.view.plot.figure.add_glyph(self.disc, edge)
        self.detectors = DetectorHandles(self.view.plot.figure, orders)
        self._on_choice = on_choice
        self.which.on_change("active", self._choose)
        self.log.on_change("active", self._choose)

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return self.view.plot, self.which, self.log

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figure and the name of the picture it shows."""
        return ((self.view, PATTERNS[self.which.active or 0] + ("_log" if self.log.active else "")),)

    def show_here(self) -> None:
        """Show the pattern of the point that was clicked."""
        self.which.active = PATTERNS.index(HERE)

    def _choose(self, _attr: str, _old: object, _new: object) -> None:
        self.view.forget()
        self._on_choice()

    def draw_disc(self, state: ServerState) -> None:
        """Draw the bright-field disc at its calibrated position, if there is one."""
        center, radius = state.calibrated("beam_center_px"), state.calibrated("disc_radius_px")
        known = isinstance(center, list | tuple) and len(center) == 2 and isinstance(radius, int | float)
        data = {"x": [center[1]], "y": [center[0]], "radius": [radius]} if known else {"x": [], "y": [], "radius": []}
        if data != dict(self.disc.data):
            self.disc.data = data

    def clips(self) -> dict[str, str]:
        """Row, column and radius of the area where a new detector is placed; empty before there is one.

        That is the bright field, or the middle of the pattern while the bright field is not known.
        """
        data = self.disc.data
        if len(data["x"]) == 1:
            return {"disc": json.dumps([data["y"][0], data["x"][0], data["radius"][0]])}
        if not self.view.showing:
            return {"disc": "[]"}
        left, top, width, height = self.view.window.extent.box
        return {"disc": json.dumps([top + 0.5 * height, left + 0.5 * width, 0.25 * min(width, height)])}

    def texts(self, name: str, picture: Picture | None) -> dict[str, str]:
        """The largest count, and the reason if there is no pattern."""
        if picture is None:
            note = "click a map: the pattern of that point" if name.startswith(HERE) else NO_PATTERN
            return {"pattern_high": UNKNOWN, "pattern_note": note}
        note = "" if picture.peak else "no counts in this pattern"
        return {"pattern_high": f"max {number(picture.peak, 2)} {picture.units or 'counts'}", "pattern_note": note}
