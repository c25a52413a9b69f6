"""The trotter view: a click on the Fourier transform chooses a spatial frequency, the detector shows its overlaps."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Collection
from functools import cached_property
from itertools import count

import numpy as np
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, InlineStyleSheet, Scatter, Toggle
from bokeh.plotting import figure

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import FFT, Picture
from ptylive.dashboard.pictures.trotters import TrotterPictures
from ptylive.dashboard.theme import PROFILE_COLOUR
from ptylive.dashboard.words import UNKNOWN, number
from ptylive.pictures.colours import ColourMap, gradient

ASK_EVERY_S = 1.0
"""Shortest time between requests while frames arrive."""
GUIDES = ("obf", "idpc", "tcbf", "bf")
"""Maps whose Fourier transform is offered; the first available one is used."""
logger = logging.getLogger(__name__)


class TrotterPanel:
    """Four figures: the Fourier transform to click, amplitude, phase before and after the aberrations are taken out."""

    def __init__(self, style: InlineStyleSheet, on_choice: Callable[[], None], orders: Orders) -> None:
        self.active = Toggle(
            name="trotter_active", label="trotters", width=66, height=26, margin=0, stylesheets=[style]
        )
        self.active.on_change("active", lambda _attr, _old, _new: on_choice())
        self.guide = PictureFigure("trotter_fft", colour_map=ColourMap.GRAY, scale_bar=False, rings=True)
        window = Window()
        self.amplitude = PictureFigure("trotter_amplitude", window, ColourMap.INFERNO, scale_bar=False)
        self.before = PictureFigure("trotter_before", window, ColourMap.CYCLIC, scale_bar=False)
        self.after = PictureFigure("trotter_after", window, ColourMap.CYCLIC, scale_bar=False)
        self.guide.plot.adorn(self._draw_on)
        self._orders = orders
        self._q: tuple[float, float] | None = None
        self._shown: TrotterPictures | None = None
        self._refusal = ""
        self._requested, self._request_time, self._waiting = "", -math.inf, False
        self._available: frozenset[str] = frozenset()
        self._versions = count(1)

    @cached_property
    def _mark(self) -> ColumnDataSource:
        return ColumnDataSource(data={"x": [], "y": []})

    def _draw_on(self, plot: figure) -> None:
        mark = Scatter(x="x", y="y", size=16, fill_color=None, line_color=PROFILE_COLOUR, line_width=2)
        plot.add_glyph(self._mark, mark)
        plot.on_event(Tap, lambda event: self.choose(event.x, event.y))

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return (self.active, *(view.plot for view in self.views))

    @property
    def views(self) -> tuple[PictureFigure, ...]:
        """All figures."""
        return self.guide, self.amplitude, self.before, self.after

    @property
    def on_show(self) -> bool:
        """Whether the viewer wants trotters."""
        return bool(self.active.active)

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figure that the feed fills."""
        return ((self.guide, f"{self._guide_name}{FFT}"),) if self.on_show else ()

    @property
    def _guide_name(self) -> str:
        return next((name for name in GUIDES if name in self._available), GUIDES[0])

    def choose(self, x: float | None, y: float | None) -> None:
        """Handle a click on the Fourier transform, 1/Å."""
        if x is not None and y is not None and (x, y) != (0.0, 0.0):
            self._q = (float(y), float(x))
            self._request_time = -math.inf

    def follow(self, view: FeedView, available: Collection[str]) -> None:
        """Request the trotters again when the frequency, the calibration or the frames have changed."""
        if not self.on_show or not view.connected:
            return
        self._available = frozenset(available)
        state = view.state
        values = {name: entry.value for name, entry in state.calibration.items()}
        signature = json.dumps([state.uid, state.state, state.frames, values, self._q], default=str)
        due = time.monotonic() - self._request_time > ASK_EVERY_S
        if signature == self._requested or self._waiting or not due or not state.frames:
            return
        self._requested, self._request_time, self._waiting = signature, time.monotonic(), True
        self._orders.ask("trotter", self._take, on_refusal=self.refuse, q_invA=self._q)

    def _take(self, reply: Reply) -> None:
        self._waiting, self._refusal = False, ""
        try:
            self._shown = TrotterPictures.of(reply, next(self._versions))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("a trotter could not be read: %s", error)

    def refuse(self, reason: str) -> None:
        """Show why there is nothing to show."""
        self._waiting, self._shown, self._refusal = False, None, reason
        self._requested = ""

    def show(self) -> None:
        """Offer the pictures, or clear the figures if there are none."""
        if not self.on_show:
            return
        found = self._shown
        pictures: tuple[Picture | None, ...] = (
            (found.amplitude, found.before, found.after) if found else (None, None, None)
        )
        for view, picture in zip((self.amplitude, self.before, self.after), pictures, strict=True):
            if picture is None:
                view.clear()
            else:
                view.offer(picture)
        q = None if found is None else found.q_invA
        marks = {"x": [], "y": []} if q is None else {"x": [q[1], -q[1]], "y": [q[0], -q[0]]}
        if marks != dict(self._mark.data):
            self._mark.data = marks

    def texts(self, _name: str, picture: Picture | None) -> dict[str, str]:
        """The note of the Fourier transform."""
        return {"trotter_fft_note": "" if picture else "no map yet"}

    def readouts(self) -> dict[str, str]:
        """Frequency and flatness in words."""
        found = self._shown
        if found is None:
            waiting = self._refusal or "…"
            return {"trotter_q": "", "trotter_note": waiting, "trotter_flat_before": "", "trotter_flat_after": ""}
        row, col = found.q_invA
        size = float(np.hypot(row, col))
        spacing = f"{number(1 / size)} Å" if size else UNKNOWN
        before, after = (f"flat {100 * value:.0f} %" for value in found.flatness)
        return {
            "trotter_q": f"{spacing} · Q {number(row)}, {number(col)} 1/Å",
            "trotter_note": "",
            "trotter_flat_before": before,
            "trotter_flat_after": after,
        }

    @staticmethod
    def styles() -> dict[str, str]:
        """The colour bars."""
        return {
            "--trotter-amplitude-bar": gradient(ColourMap.INFERNO),
            "--trotter-phase-bar": gradient(ColourMap.CYCLIC),
        }
