"""The line profile: two clicks on a map draw a line, and the values under it appear below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, InlineStyleSheet, Line, Range1d, Scatter, Toggle
from bokeh.plotting import figure

from ptylive.dashboard.panels.live.later import AxesFigure
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.dashboard.panels.picture import BARE
from ptylive.dashboard.pictures import Picture
from ptylive.dashboard.theme import PROFILE_COLOUR, Theme
from ptylive.dashboard.words import number
from ptylive.schema.model import DoubleArray

Point = tuple[float, float]
"""(row, col) in the coordinates of the map."""
POINTS = 256


class ProfilePanel:
    """The line on every map, and the curve of the map that was clicked last."""

    def __init__(self, panels: Sequence[MapPanel], style: InlineStyleSheet) -> None:
        self.active = Toggle(name="profile_active", label="profile", width=58, height=26, margin=0, stylesheets=[style])
        self.ends: list[Point] = []
        self.panel = panels[0]
        self._shown: tuple[object, ...] | None = None
        self._line = ColumnDataSource(data={"x": [], "y": []})
        self.plot = AxesFigure("profile", self._figure)
        for panel in panels:
            panel.view.plot.adorn(partial(self._draw_on, panel))

    @cached_property
    def _curve(self) -> ColumnDataSource:
        return ColumnDataSource(data={"distance": [], "value": []})

    @cached_property
    def _distances(self) -> Range1d:
        return Range1d(0, 1)

    @cached_property
    def _values(self) -> Range1d:
        return Range1d(0, 1)

    def _draw_on(self, panel: MapPanel, plot: figure) -> None:
        ends = Scatter(x="x", y="y", size=7, fill_color=PROFILE_COLOUR, line_color=PROFILE_COLOUR)
        for glyph in (Line(x="x", y="y", line_width=2, line_color=PROFILE_COLOUR), ends):
            plot.add_glyph(self._line, glyph)
        plot.on_event(Tap, lambda event: self.tap(panel, event.x, event.y))

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return self.active, self.plot

    def is_on(self) -> bool:
        """Whether clicks on a map draw the profile."""
        return bool(self.active.active)

    def _figure(self) -> figure:
        plot = figure(
            name="profile",
            tools="",
            toolbar_location=None,
            sizing_mode="stretch_both",
            x_range=self._distances,
            y_range=self._values,
            **{**BARE, "min_border": 4, "min_border_left": 60},
        )
        plot.add_glyph(self._curve, Line(x="distance", y="value", line_width=2, line_color=PROFILE_COLOUR))
        plot.grid.grid_line_alpha = 0.15
        plot.axis.minor_tick_line_color = None
        plot.axis.axis_line_color = None
        plot.axis.axis_label_text_font_style = "normal"
        plot.yaxis.ticker.desired_num_ticks = 4
        return plot

    def wear(self, theme: Theme) -> None:
        """Set the colour of axes and labels."""
        self.plot.wear(theme)

    @property
    def source(self) -> str:
        """Name of the picture whose values are drawn; none for a Fourier transform."""
        return "" if self.panel.shows_fft else self.panel.figures[0][1]

    def tap(self, panel: MapPanel, x: float | None, y: float | None) -> None:
        """Handle a click on a map: the first starts the line, the second ends it, the third starts a new one."""
        if not self.active.active or x is None or y is None or panel.shows_fft:
            return
        self.panel = panel
        self.ends = [(y, x)] if len(self.ends) != 1 else [*self.ends, (y, x)]
        self._draw()

    def show(self, picture: Picture | None) -> None:
        """Draw the curve of the map that was clicked last; nothing is sent if map and line are unchanged."""
        drawn = self.active.active and len(self.ends) == 2 and picture is not None and not picture.wheel
        if picture is None or not drawn:
            if self._shown is not None:
                self._shown, self._curve.data = None, {"distance": [], "value": []}
                self._draw()
            return
        signature = (picture.name, picture.version, *self.ends)
        if signature == self._shown:
            return
        self._shown = signature
        self._draw()
        distance, value = along_line(picture, self.ends[0], self.ends[1])
        self._curve.data = {"distance": distance, "value": value}
        self._distances.update(start=0.0, end=max(float(distance[-1]), 1e-9))
        self._values.update(**around(value))
        self.plot.figure.xaxis.axis_label = "Å" if picture.calibrated else "scan points"
        self.plot.figure.yaxis.axis_label = picture.units

    def text(self) -> str:
        """What to do next, or how long the line is."""
        if not self.active.active:
            return ""
        if len(self.ends) < 2:
            return "click the end of the line" if self.ends else "click a map at the start of the line"
        (top, left), (bottom, right) = self.ends
        unit = "Å" if self.panel.view.calibrated else "scan points"
        return f"{self.panel.kind.label}: {number(float(np.hypot(bottom - top, right - left)))} {unit}"

    def _draw(self) -> None:
        ends = self.ends if self.active.active else []
        data = {"x": [x for _, x in ends], "y": [y for y, _ in ends]}
        if data != dict(self._line.data):
            self._line.data = data


def around(values: DoubleArray) -> dict[str, float]:
    """Start and end of a range with a small margin around the values."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.06 * (high - low) or abs(low) * 0.01 or 0.5
    return {"start": low - margin, "end": high + margin}


def along_line(picture: Picture, start: Point, end: Point) -> tuple[DoubleArray, DoubleArray]:
    """Distance from the start and bilinear values (POINTS each) of a picture along a line; NaN outside the picture."""
    share = np.linspace(0.0, 1.0, POINTS)
    rows, cols = (
        (first + share * (last - first) - origin) / pixel
        for first, last, origin, pixel in zip(start, end, picture.origin, picture.pixel, strict=True)
    )
    height, width = picture.data.shape
    inside = (rows >= 0) & (cols >= 0) & (rows <= height - 1) & (cols <= width - 1)
    row = np.clip(np.floor(rows).astype(int), 0, max(height - 2, 0))
    col = np.clip(np.floor(cols).astype(int), 0, max(width - 2, 0))
    down, right = np.minimum(row + 1, height - 1), np.minimum(col + 1, width - 1)
    v, u = rows - row, cols - col
    data = picture.data.astype(float)
    if picture.visited is not None:
        data = np.where(picture.visited, data, np.nan)
    data = np.where(np.isfinite(data), data, np.nan)
    value = (1 - v) * ((1 - u) * data[row, col] + u * data[row, right])
    value += v * ((1 - u) * data[down, col] + u * data[down, right])
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    return share * length, np.where(inside, value, np.nan)
