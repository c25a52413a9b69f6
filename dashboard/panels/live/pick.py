"""A scan point that was clicked on a map: marked on all maps, with its diffraction pattern."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from types import MappingProxyType

import numpy as np
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, GlyphRenderer, Line, Scatter
from bokeh.plotting import figure

from ptylive.dashboard.client.feed import FeedView, raw_picture
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.maps import MapPanel
from ptylive.dashboard.pictures import Picture, RawPicture, Surroundings, prepare
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import count as counted
from ptylive.dashboard.words import number

HERE = "pattern_here"
"""Name of the picture: the pattern of the point, or the mean of a rectangle."""
NAMES = (HERE, f"{HERE}_log")
COLOUR = "#4cff9d"
FARTHEST = 2**20
LIVE, REFRESH_FRAMES = "scanning", 256
"""During a scan, a point that has not been reached is requested again with every 256 frames."""
Point = tuple[int, int]
"""Row and column of a scan point, from 0."""
logger = logging.getLogger(__name__)


class PickedPoint:
    """The picked point (or rectangle); ``busy``: whether clicks mean something else; ``picked``: called on a pick."""

    def __init__(
        self, panels: Sequence[MapPanel], orders: Orders, busy: Callable[[], bool], picked: Callable[[], None]
    ) -> None:
        self._orders, self._busy, self._picked = orders, busy, picked
        self._panels = list(panels)
        self.point: Point | None = None
        self.to: Point | None = None
        self._state = ServerState()
        self._back = False
        self._raw: RawPicture | None = None
        self._pictures: dict[str, Picture] = {}
        self._versions = count(1)
        self._words = ""
        self._requested: tuple[object, ...] = ()
        self._reply_pending = False
        """Whether the server owes a pattern: points passed over meanwhile are not requested."""
        self._shown: tuple[Point | None, Point | None] = (None, None)
        """Point, or corners of the rectangle, whose pattern is displayed."""
        self._awaits_frames = False
        """Whether the pattern of a point is requested again when more frames have arrived."""
        self._mark = ColumnDataSource(data={"x": [], "y": []})
        self._frame = ColumnDataSource(data={"x": [], "y": []})
        self._glyphs: list[list[GlyphRenderer]] = [[] for _ in panels]
        for panel, glyphs in zip(panels, self._glyphs, strict=True):
            panel.view.plot.adorn(partial(self._draw_on, panel, glyphs))

    def _draw_on(self, panel: MapPanel, glyphs: list[GlyphRenderer], plot: figure) -> None:
        cross = Scatter(x="x", y="y", marker="cross", size=22, line_color=COLOUR, line_width=2)
        outline = Line(x="x", y="y", line_color=COLOUR, line_width=2)
        glyphs += [plot.add_glyph(self._mark, cross), plot.add_glyph(self._frame, outline)]
        plot.on_event(Tap, lambda event: self.tap(panel, event.x, event.y))

    def tap(self, panel: MapPanel, x: float | None, y: float | None) -> None:
        """Handle a click on a map that is not a Fourier transform."""
        step, shape = self._steps(panel), self._state.scan.shape
        if self._busy() or panel.shows_fft or x is None or y is None or shape is None:
            return
        point = (math.floor(y / step[0] + 0.5), math.floor(x / step[1] + 0.5))
        if all(0 <= place < most for place, most in zip(point, shape, strict=True)):
            self.choose(point)

    def _steps(self, panel: MapPanel) -> tuple[float, float]:
        """Length of a scan step in the coordinates of the maps."""
        step = self._state.scan.step_A
        return step if step is not None and panel.view.calibrated else (1.0, 1.0)

    def ask(self, request: Request) -> None:
        """Move the point by (rows, columns), grow it to a rectangle by (rows, columns), or use a dragged rectangle."""
        if request.key == "rectangle":
            self._drag(request)
            return
        if self.point is None or len(request.numbers) != 2 or self._state.scan.shape is None:
            return
        if not all(abs(component) < FARTHEST for component in request.numbers):
            return
        start = self.to or self.point if request.key == "grow" else self.point
        moved = [
            min(max(place + round(step), 0), most - 1)
            for place, step, most in zip(start, request.numbers, self._state.scan.shape, strict=True)
        ]
        self.choose(
            self.point if request.key == "grow" else (moved[0], moved[1]),
            (moved[0], moved[1]) if request.key == "grow" else None,
        )

    def _drag(self, request: Request) -> None:
        """Use two corners (y, x, y, x) in the coordinates of a map (not a Fourier transform), clipped to the scan."""
        shape, numbers = self._state.scan.shape, request.numbers
        if request.panel >= len(self._panels) or len(numbers) != 4 or shape is None:
            return
        panel = self._panels[request.panel]
        if panel.shows_fft or not all(abs(component) < FARTHEST for component in numbers):
            return
        places = (np.reshape(numbers, (2, 2)) / self._steps(panel) + 0.5) // 1
        (top, left), (bottom, right) = (
            (int(row), int(column)) for row, column in np.clip(places, 0, np.subtract(shape, 1))
        )
        self.choose((top, left), (bottom, right))

    def choose(self, point: Point, to: Point | None = None) -> None:
        """Mark a point or a rectangle, and request its pattern."""
        self.point, self.to = point, None if to == point else to
        self._picked()

    def follow(self, state: ServerState, *, looking_back: bool, wanted: bool) -> None:
        """Request the picked pattern once, as soon as somebody wants to see it; ``state``: of the scan on view."""
        if state.uid != self._state.uid:
            self.point = self.to = None
            self._forget("")
        self._state, self._back = state, looking_back
        self._draw()
        arrived = (state.frames or 0) // REFRESH_FRAMES if self._awaits_frames else -1
        key = (state.uid, state.state, self.point, self.to, looking_back, arrived)
        if not wanted or self.point is None or key == self._requested:
            return
        if looking_back:
            self._requested = key
            self._forget("open this scan to see its patterns")
        elif not self._reply_pending:
            self._requested, self._reply_pending = key, True
            self._request(state, self.point, self.to)

    def _request(self, state: ServerState, point: Point, to: Point | None) -> None:
        """Request one pattern. A late reply is shown too, unless it is of another scan: arrow keys are held down."""
        key = self._requested

        def is_of_this_scan() -> bool:
            self._reply_pending = False
            return state.uid == self._state.uid and not self._back

        def take(reply: Reply) -> None:
            if is_of_this_scan():
                self._shown = (point, to)
                self._take(reply)
            if key == self._requested:
                self._awaits_frames, self._requested = False, (*key[:-1], -1)

        def refused(line: str) -> None:
            if is_of_this_scan() and key == self._requested:
                self._shown = (point, to)
                self._awaits_frames = state.state == LIVE
                self._forget(line)

        corner = {} if to is None else {"to": list(to)}
        self._orders.ask("pattern", take, on_refusal=refused, point=list(point), **corner)

    def _take(self, reply: Reply) -> None:
        try:
            raw = replace(raw_picture(HERE, reply["pattern"]), units="counts")
            frames, total = int(reply["frames"]), float(raw.data.sum())
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("a pattern could not be read: %s", error)
            self._forget("the answer could not be read")
            return
        self._raw, self._pictures = raw, {}
        amount = (
            f"mean of {frames} frames"
            if self._shown[1] is not None
            else "1 frame"
            if frames == 1
            else f"{frames} frames"
        )
        nearest = reply.get("nearest")
        near = f" of row {nearest[0]}, column {nearest[1]}" if isinstance(nearest, list | tuple) else ""
        self._words = f"{amount}{near}, {counted(total) if total >= 10 else number(total)} counts"

    def _forget(self, message: str) -> None:
        self._raw, self._pictures, self._words = None, {}, message

    def _draw(self) -> None:
        """Draw the marks, in the coordinates of maps; none on a Fourier transform."""
        step = self._steps(self._panels[0])
        mark: dict[str, list[float]] = {"x": [], "y": []}
        frame: dict[str, list[float]] = {"x": [], "y": []}
        if self.point is not None and self.to is None:
            mark = {"x": [self.point[1] * step[1]], "y": [self.point[0] * step[0]]}
        elif self.point is not None and self.to is not None:
            (top, bottom), (left, right) = (sorted(pair) for pair in zip(self.point, self.to, strict=True))
            rows, cols = (top - 0.5, bottom + 0.5), (left - 0.5, right + 0.5)
            corners = [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)]
            frame = {"x": [cols[j] * step[1] for _, j in corners], "y": [rows[i] * step[0] for i, _ in corners]}
        for source, data in ((self._mark, mark), (self._frame, frame)):
            if data != dict(source.data):
                source.data = data
        for panel, glyphs in zip(self._panels, self._glyphs, strict=True):
            for glyph in glyphs:
                if glyph.visible == panel.shows_fft:
                    glyph.visible = not panel.shows_fft

    def view(self, displayed: FeedView) -> FeedView:
        """What panels are to show, including the pattern of the point."""
        if self._raw is None:
            return displayed
        for name in NAMES:
            if name not in self._pictures:
                self._pictures[name] = prepare(self._raw, -next(self._versions), Surroundings(), wanted=name)
        pictures = MappingProxyType({**displayed.pictures, **self._pictures})
        return replace(displayed, pictures=pictures, available=displayed.available | {HERE})

    def texts(self, *, shown: bool) -> dict[str, str]:
        """Which point, and its counts; ``shown``: whether its pattern is on display."""
        if not shown or self.point is None:
            return {"pattern_where": ""}
        place = "row {}, column {}".format(*self.point)
        if self.to is not None:
            place += " to {}, {}".format(*self.to)
        words = self._words if self._back or self._shown == (self.point, self.to) else ""
        return {"pattern_where": f"{place}: {words or '…'}"}
