"""Curves next to a refinement: loss, phase along and below a line of the object, agreement of two runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from bokeh.events import Tap
from bokeh.models import (
    ColumnDataSource,
    Image,
    InlineStyleSheet,
    Line,
    LinearColorMapper,
    RadioButtonGroup,
    Range1d,
    Scatter,
)
from bokeh.plotting import figure

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.panels.live.later import AxesFigure, LaterFigure
from ptylive.dashboard.panels.picture import BARE
from ptylive.dashboard.panels.profile import Point, along_line, around
from ptylive.dashboard.pictures import Picture
from ptylive.dashboard.theme import COMPARED_COLOUR, PROFILE_COLOUR, Theme
from ptylive.dashboard.words import number
from ptylive.pictures.colours import ColourMap, levels, shades
from ptylive.server.wire.messages import array_from_plain

CURVES = ("loss", "line", "depth", "rings")
LABELS = ("loss", "line", "depth", "FRC")
ENDED = frozenset({"done", "stopped"})
logger = logging.getLogger(__name__)


class RunCurves:
    """Chooses the curve next to the object; two clicks on the object draw the line of ``line`` and ``depth``.

    Section and ring correlation are requested from the server (`analyse`), once for every line and pair of runs.
    """

    def __init__(self, plot: LaterFigure, style: InlineStyleSheet, orders: Orders) -> None:
        self.choice = RadioButtonGroup(
            name="curve_choice", labels=list(LABELS), active=0, height=24, margin=0, stylesheets=[style]
        )
        self.ends: list[Point] = []
        self._orders = orders
        self._requested: tuple[object, ...] = ()
        self._shown: tuple[object, ...] = ()
        self._note = self._words = ""
        self._answer = ("", "")  # note and words of the last request
        self._ends = ColumnDataSource(data={"x": [], "y": []})
        self.plots = {
            "line": AxesFigure("curve_line", self._line_plot),
            "depth": AxesFigure("curve_depth", self._depth_plot),
            "rings": AxesFigure("curve_rings", self._rings_plot),
        }
        plot.adorn(self._draw_on)

    @cached_property
    def _line(self) -> ColumnDataSource:
        return ColumnDataSource(data={"distance": [], "value": []})

    @cached_property
    def _section(self) -> ColumnDataSource:
        return ColumnDataSource(data={"image": [], "dw": [], "dh": []})

    @cached_property
    def _rings(self) -> ColumnDataSource:
        return ColumnDataSource(data={"q": [], "correlation": [], "half_bit": []})

    @cached_property
    def _mapper(self) -> LinearColorMapper:
        return LinearColorMapper(palette=list(shades(ColourMap.MAGMA)), low=0, high=1)

    @cached_property
    def _along(self) -> Range1d:
        return Range1d(0, 1)

    @cached_property
    def _values(self) -> Range1d:
        return Range1d(0, 1)

    @cached_property
    def _depths(self) -> Range1d:
        return Range1d(1, 0)

    @cached_property
    def _frequencies(self) -> Range1d:
        return Range1d(0, 1)

    def _draw_on(self, plot: figure) -> None:
        plot.add_glyph(self._ends, Line(x="x", y="y", line_width=2, line_color=PROFILE_COLOUR))
        ends = Scatter(x="x", y="y", size=7, fill_color=PROFILE_COLOUR, line_color=PROFILE_COLOUR)
        plot.add_glyph(self._ends, ends)
        plot.on_event(Tap, lambda event: self.tap(event.x, event.y))

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return (self.choice, *self.plots.values())

    @property
    def kind(self) -> str:
        """The displayed curve, one of CURVES."""
        return CURVES[self.choice.active or 0]

    def _line_plot(self) -> figure:
        plot = _plot("curve_line", self._along, self._values, "Å", "rad")
        plot.add_glyph(self._line, Line(x="distance", y="value", line_width=2, line_color=PROFILE_COLOUR))
        return plot

    def _depth_plot(self) -> figure:
        plot = _plot("curve_depth", self._along, self._depths, "Å", "depth / Å")
        section = Image(image="image", x=0, y=0, dw="dw", dh="dh", color_mapper=self._mapper)
        plot.add_glyph(self._section, section)
        return plot

    def _rings_plot(self) -> figure:
        plot = _plot("curve_rings", self._frequencies, Range1d(-0.1, 1.05), "1/Å", "correlation")
        threshold = Line(x="q", y="half_bit", line_color=COMPARED_COLOUR, line_dash="dashed", line_width=2)
        plot.add_glyph(self._rings, threshold)
        plot.add_glyph(self._rings, Line(x="q", y="correlation", line_color=PROFILE_COLOUR, line_width=2))
        return plot

    def wear(self, theme: Theme) -> None:
        """Set the colour of axes and labels."""
        for plot in self.plots.values():
            plot.wear(theme)

    def tap(self, x: float | None, y: float | None) -> None:
        """Handle a click on the object: the start of the line, its end, then a new line."""
        if self.kind in ("line", "depth") and x is not None and y is not None:
            self.ends = [(y, x)] if len(self.ends) != 1 else [*self.ends, (y, x)]

    def follow(self, view: FeedView, picture: Picture | None, compared: str) -> None:
        """Draw the chosen curve; ``picture``: the object as displayed, ``compared``: the run shown next to it."""
        self._draw_ends()
        self._note = self._words = ""
        if self.kind in ("line", "depth"):
            self._note = self._lacking(view, picture)
        if self._note:
            return
        if self.kind == "line" and picture is not None:
            self._follow_line(picture)
        elif self.kind == "depth":
            self._follow_depth(view)
        elif self.kind == "rings":
            self._follow_rings(view, compared)

    def _lacking(self, view: FeedView, picture: Picture | None) -> str:
        """What a line or a section lacks; nobody is asked to draw a line that shows nothing."""
        if self.kind == "depth" and view.slices < 2 and (view.slices or picture is not None):
            return "one slice has no depth: refine with more slices"
        if picture is None and (self.kind == "line" or not view.slices):
            return "no object yet"
        if len(self.ends) < 2:
            return "click the end of the line" if self.ends else "click the object at the start of the line"
        return ""

    def _draw_ends(self) -> None:
        ends = self.ends if self.kind in ("line", "depth") else []
        data = {"x": [x for _, x in ends], "y": [y for y, _ in ends]}
        if data != dict(self._ends.data):
            self._ends.data = data

    def _follow_line(self, picture: Picture) -> None:
        signature = ("line", picture.name, picture.version, *self.ends)
        if signature == self._shown:
            return
        self._shown = signature
        distance, value = along_line(picture, self.ends[0], self.ends[1])
        self._line.data = {"distance": distance, "value": value}
        self._along.update(start=0.0, end=max(float(distance[-1]), 1e-9))
        self._values.update(**around(value))
        self.plots["line"].figure.xaxis.axis_label = "Å" if picture.calibrated else "px"

    def _follow_depth(self, view: FeedView) -> None:
        line = [value for end in self.ends for value in end]
        self._request(view, ("depth", *line), self._take_section, line_A=line)

    def _follow_rings(self, view: FeedView, compared: str) -> None:
        if not compared or compared == str(view.state.refinement.run):
            self._note = "compare with another run of this scan first"
            return
        self._request(view, ("rings", compared), self._take_rings, other=compared)

    def _request(self, view: FeedView, key: tuple[object, ...], take: Callable[[Reply], str], **arguments: Any) -> None:
        """Ask the server once; its reply stays until something else is requested."""
        run = view.state.refinement
        if not run.run or run.state not in ENDED:
            self._note = "available when the refinement has ended"
            return
        signature = (*key, view.state.uid, run.run, run.state, view.state.results)
        if signature == self._requested:
            self._note, self._words = self._answer
            return
        self._requested, self._answer = signature, ("…", "")

        def accept(reply: Reply) -> None:
            if signature == self._requested:
                self._take(take, reply)

        def refuse(line: str) -> None:
            if signature == self._requested:
                self._answer = (line, "")

        self._note = "…"
        self._orders.ask("analyse", accept, on_refusal=refuse, run=str(run.run), **arguments)

    def _take(self, take: Callable[[Reply], str], reply: Reply) -> None:
        try:
            self._answer = ("", take(reply))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("an analysis could not be read: %s", error)
            self._answer = ("the answer could not be read", "")
        self._shown = self._requested

    def _take_section(self, reply: Reply) -> str:
        section = reply["section"]
        phase = np.asarray(array_from_plain(section), dtype=np.float32)
        spacing, step = (float(v) for v in section["sampling_A"])
        depth, length = phase.shape[0] * spacing, phase.shape[1] * step
        low, high = levels(phase)
        self._mapper.update(low=low, high=high)
        self._section.data = {"image": [phase], "dw": [length], "dh": [depth]}
        self._along.update(start=0.0, end=length)
        self._depths.update(start=depth, end=0.0)
        return f"{phase.shape[0]} slices of {number(spacing)} Å, {number(low, 2)} to {number(high, 2)} rad"

    def _take_rings(self, reply: Reply) -> str:
        rings: Mapping[str, Any] = reply["ring_correlation"]
        columns = {
            "q": rings["frequencies_invA"],
            "correlation": rings["correlation"],
            "half_bit": rings["half_bit"],
        }
        self._rings.data = {name: [float(v) for v in values] for name, values in columns.items()}
        self._frequencies.update(start=0.0, end=max(float(columns["q"][-1]), 1e-9))
        found = rings["resolution_A"]["half_bit"]
        agree = "at all periods" if found is None or not math.isfinite(found) else f"to {number(float(found))} Å"
        longest = _longest_period(**self._rings.data)
        except_long = "" if longest is None else f", except above {number(longest)} Å"
        return f"the two runs agree {agree}{except_long} (half bit, dashed); they share their frames and so their noise"

    def texts(self) -> dict[str, str]:
        """Texts shown in place of a missing curve, and comments on the displayed one."""
        return {"curve_note": self._note, "curve_said": self._words}

    def marks(self) -> dict[str, str]:
        """Which curve is displayed."""
        return {"curve": self.kind}


def _longest_period(q: list[float], correlation: list[float], half_bit: list[float]) -> float | None:
    """Longest period of a ring above the half-bit curve, Å; None if all do or none does, or the longest of all does."""
    above = [value >= least for value, least in zip(correlation, half_bit, strict=True)]
    return None if above[0] or True not in above else 1 / q[above.index(True)]


def _plot(name: str, x_range: Range1d, y_range: Range1d, x_label: str, y_label: str) -> figure:
    plot = figure(
        name=name,
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_both",
        x_range=x_range,
        y_range=y_range,
        **{**BARE, "min_border": 4, "min_border_left": 56},
    )
    plot.grid.grid_line_alpha = 0.15
    plot.axis.minor_tick_line_color = None
    plot.axis.axis_line_color = None
    plot.axis.major_label_text_font_size = "11px"
    plot.axis.axis_label_text_font_style = "normal"
    plot.xaxis.axis_label, plot.yaxis.axis_label = x_label, y_label
    plot.yaxis.ticker.desired_num_ticks = 5
    return plot
