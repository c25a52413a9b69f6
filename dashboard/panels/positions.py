"""Scan positions before and after the refinement, drawn on the object."""

from __future__ import annotations

import logging
from functools import cached_property

import numpy as np
from bokeh.models import ColumnDataSource, InlineStyleSheet, Scatter, Segment, Toggle
from bokeh.plotting import figure

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.panels.live.later import LaterFigure
from ptylive.dashboard.theme import DISC_COLOUR
from ptylive.dashboard.words import number
from ptylive.server.wire.messages import array_from_plain

BEFORE_COLOUR = "#ffffff"
ENDED = frozenset({"done", "stopped"})
logger = logging.getLogger(__name__)


class PositionsOverlay:
    """A line from every nominal position to the refined one; requests the positions while it is switched on."""

    def __init__(self, plot: LaterFigure, style: InlineStyleSheet, orders: Orders) -> None:
        self.active = Toggle(
            name="positions_active", label="positions", width=76, height=24, margin=0, stylesheets=[style]
        )
        self.active.on_change("active", lambda _attr, _old, _new: self._draw())
        self._orders = orders
        self._requested: tuple[object, ...] = ()
        self._before = self._after = np.zeros((0, 2), dtype=np.float32)
        plot.adorn(self._draw_on)

    @cached_property
    def _source(self) -> ColumnDataSource:
        return ColumnDataSource(data={"x0": [], "y0": [], "x1": [], "y1": []})

    def _draw_on(self, plot: figure) -> None:
        segment = Segment(x0="x0", y0="y0", x1="x1", y1="y1", line_color=DISC_COLOUR, line_width=1.5)
        before = Scatter(x="x0", y="y0", size=2.5, fill_color=BEFORE_COLOUR, fill_alpha=0.7, line_color=None)
        after = Scatter(x="x1", y="y1", size=3.5, fill_color=DISC_COLOUR, line_color=None)
        for glyph in (segment, before, after):
            plot.add_glyph(self._source, glyph)

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return (self.active,)

    def follow(self, view: FeedView) -> None:
        """Request the positions of the run that ended last."""
        run = view.state.refinement
        wanted = (view.state.uid, view.state.results, run.run, run.state)
        if not self.active.active or not view.connected or wanted == self._requested:
            return
        self._requested = wanted
        if run.run and run.state in ENDED:
            self._orders.ask("runs", self._take, on_refusal=self._refused, pictures=[str(run.run)])
        else:
            self._refused("available when a refinement has ended")

    def _take(self, reply: Reply) -> None:
        try:
            plain = reply["pictures"][0]["positions"]
            if plain is None:
                self._refused("this run stored no positions to compare")
                return
            self._before, self._after = (array_from_plain(plain[name]) for name in ("before", "after"))
            self._orders.say(f"positions moved by {number(float(plain['rms_A']), 2)} Å (root mean square)")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            logger.warning("positions could not be read: %s", error)
            return
        self._draw()

    def _refused(self, reason: str) -> None:
        self._before = self._after = np.zeros((0, 2), dtype=np.float32)
        self._orders.say(reason)
        self._draw()

    def _draw(self) -> None:
        before, after = (self._before, self._after) if self.active.active else (self._before[:0], self._after[:0])
        self._source.data = {"x0": before[:, 1], "y0": before[:, 0], "x1": after[:, 1], "y1": after[:, 0]}
