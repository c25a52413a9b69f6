"""Virtual detectors drawn on the diffraction pattern: discs and rings with handles for centre and radii."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bokeh.models import Circle, ColumnDataSource, PointDrawTool, Scatter
from bokeh.plotting import figure

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.requests import Request
from ptylive.dashboard.theme import DETECTOR_COLOURS
from ptylive.dashboard.words import number

REST_S = 0.35
"""A detector is sent when its handle has not moved for this long."""
TOUCHED_S = 2.0
"""For this long, the server does not overrule what the viewer draws."""
MOST = 8
NOWHERE = "no pattern yet: a detector is drawn on one; click a map for the pattern of that point"
TOO_MANY = f"there are {MOST} virtual detectors, as many as possible: remove one first (≡)"
HANDLES = "detector_handles"
"""Name of the source whose points a viewer drags."""
MOST_HANDLES = 3 * MOST


@dataclass(frozen=True)
class Drawn:
    """A disc (``inner`` 0) or ring, in pixels of the recorded pattern."""

    name: str
    row: float
    col: float
    inner: float
    outer: float

    def to_plain(self) -> dict[str, Any]:
        """Plain values as the command `detectors` expects them."""
        shape = {"inner_px": round(self.inner, 2), "outer_px": round(self.outer, 2)}
        return {"name": self.name, "center_px": [round(self.row, 2), round(self.col, 2)], **shape}

    @property
    def handles(self) -> list[tuple[str, float, float]]:
        """(kind, x, y) of the draggable points: the centre, and a point on every edge."""
        edges = [("outer", self.outer)] + ([("inner", self.inner)] if self.inner else [])
        return [("center", self.col, self.row), *((kind, self.col + radius, self.row) for kind, radius in edges)]

    def dragged(self, kind: str, x: float, y: float) -> Drawn:
        """Return a copy with one handle moved; radii stay in order and at least one pixel apart."""
        if kind == "center":
            return replace(self, row=y, col=x)
        radius = math.hypot(x - self.col, y - self.row)
        if kind == "inner":
            return replace(self, inner=min(max(radius, 0.5), self.outer - 1))
        return replace(self, outer=max(radius, self.inner + 1))


class DetectorHandles:
    """The detectors on the figure of the diffraction pattern."""

    def __init__(self, plot: figure, orders: Orders) -> None:
        self._orders = orders
        self.drawn: list[Drawn] = []
        self.written: dict[str, str] = {}
        """Detectors defined in words: their definitions by name."""
        self._chosen = ""
        self._touched = -math.inf
        self._sent: tuple[list[Drawn], dict[str, str]] = ([], {})
        self._circles = ColumnDataSource(data={"x": [], "y": [], "radius": [], "colour": []})
        self._handles = ColumnDataSource(name=HANDLES, data={"x": [], "y": [], "key": [], "colour": []})
        areas = Circle(
            x="x", y="y", radius="radius", fill_color="colour", fill_alpha=0.08, line_color="colour", line_width=2
        )
        plot.add_glyph(self._circles, areas)
        squares = Scatter(x="x", y="y", size=9, marker="square", fill_color="colour", line_color="#ffffff")
        points = plot.add_glyph(self._handles, squares)
        tool = PointDrawTool(renderers=[points], add=False)
        plot.add_tools(tool)
        plot.toolbar.active_tap = plot.toolbar.active_drag = tool
        self._handles.on_change("data", self._drag)

    # -- what the viewer does -------------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Add a disc or ring, remove all, or move the selected one by a step."""
        new = request.key in ("disc", "ring") or (request.key == "write" and request.name.strip() not in self.written)
        if new and len(self.drawn) + len(self.written) >= MOST:
            self._orders.say(TOO_MANY)
        elif request.key in ("disc", "ring"):
            self._add(request.key, request.numbers)
        elif request.key == "clear":
            self._use([], {})
        elif request.key == "write":
            self._use(self.drawn, {**self.written, request.name.strip(): request.value.strip()})
        elif request.key == "remove":
            written = {name: definition for name, definition in self.written.items() if name != request.name}
            self._use([detector for detector in self.drawn if detector.name != request.name], written)
        elif request.key == "move" and len(request.numbers) == 2 and self.drawn:
            name = self._chosen or self.drawn[-1].name
            moved = [
                replace(d, row=d.row + request.numbers[0], col=d.col + request.numbers[1]) if d.name == name else d
                for d in self.drawn
            ]
            self._use(moved)

    def _add(self, kind: str, disc: Sequence[float]) -> None:
        """Add a detector on the bright field: a disc of half its radius, or a ring around it."""
        if len(disc) != 3 or disc[2] <= 0:
            self._orders.say(NOWHERE)
            return
        row, col, radius = disc
        used = {drawn.name for drawn in self.drawn} | set(self.written)
        name = next(n for i in range(1, MOST + 2) if (n := f"{kind}{i}") not in used)
        inner, outer = (0.0, 0.5 * radius) if kind == "disc" else (1.15 * radius, 1.8 * radius)
        self._chosen = name
        self._use([*self.drawn, Drawn(name, row, col, inner, outer)])

    def _drag(self, _attr: str, _old: Any, new: Mapping[str, Sequence[Any]]) -> None:
        """Handle a handle that was moved, or removed with its detector (backspace)."""
        placed = {str(key): (float(x), float(y)) for key, x, y in zip(new["key"], new["x"], new["y"], strict=True)}
        after = []
        for drawn in self.drawn:
            handles = {f"{drawn.name}:{kind}": (kind, x, y) for kind, x, y in drawn.handles}
            if not handles.keys() <= placed.keys():
                continue
            for key, (kind, x, y) in handles.items():
                if math.hypot(placed[key][0] - x, placed[key][1] - y) > 1e-6:
                    drawn = drawn.dragged(kind, *placed[key])  # noqa: PLW2901  (one handle moves at a time)
                    self._chosen = drawn.name
            after.append(drawn)
        if after != self.drawn:
            self._use(after)

    def _use(self, drawn: list[Drawn], written: dict[str, str] | None = None) -> None:
        self.drawn, self._touched = drawn, time.monotonic()
        self.written = self.written if written is None else written
        self._draw()

    # -- a few times a second -------------------------------------------------------------------------------------

    def follow(self, state: ServerState) -> None:
        """Send a detector that has come to rest; otherwise show the server's, which another viewer may have drawn."""
        rested = time.monotonic() - self._touched
        if (self.drawn, self.written) != self._sent and rested > REST_S and self._touched > 0:
            text = self._text()
            self._sent = list(self.drawn), dict(self.written)
            self._orders.send("detectors", text, detectors=self._plain())
        elif rested > TOUCHED_S and state.detectors is not None:
            reported = [Drawn(d.name, *d.center_px, d.inner_px, d.outer_px) for d in state.detectors if d.center_px]
            words = {d.name: d.what for d in state.detectors if d.what}
            if [d.to_plain() for d in reported] != [d.to_plain() for d in self.drawn] or words != self.written:
                self.drawn, self.written = reported, words
                self._sent = list(reported), dict(words)
                self._draw()

    def _plain(self) -> list[dict[str, Any]]:
        """All detectors as the command `detectors` expects them."""
        words = [{"name": name, "what": definition} for name, definition in self.written.items()]
        return [*(drawn.to_plain() for drawn in self.drawn), *words]

    def lists(self) -> dict[str, Any]:
        """All detectors for the page's script to draw: name, and definition in words."""
        rows = [[detector.name, f"{_span(detector)} px, drawn"] for detector in self.drawn]
        return {"detectors": [*rows, *([name, definition] for name, definition in self.written.items())]}

    def _text(self) -> str:
        new = [name for name, definition in self.written.items() if self._sent[1].get(name) != definition]
        if new:
            return f"map vd_{new[-1]}: {self.written[new[-1]]}"
        detector = next((d for d in self.drawn if d.name == self._chosen), None)
        if detector is None:
            return "virtual detectors saved" if self.drawn or self.written else "virtual detectors removed"
        return f"map vd_{detector.name}: {_span(detector)} px"

    def _draw(self) -> None:
        circles: dict[str, list[Any]] = {"x": [], "y": [], "radius": [], "colour": []}
        handles: dict[str, list[Any]] = {"x": [], "y": [], "key": [], "colour": []}
        for index, drawn in enumerate(self.drawn):
            colour = DETECTOR_COLOURS[index % len(DETECTOR_COLOURS)]
            for kind, x, y in drawn.handles:
                _append(handles, x=x, y=y, key=f"{drawn.name}:{kind}", colour=colour)
                if kind != "center":
                    _append(circles, x=drawn.col, y=drawn.row, radius=getattr(drawn, kind), colour=colour)
        self._circles.data = circles
        if handles != dict(self._handles.data):
            self._handles.data = handles


def _span(detector: Drawn) -> str:
    return f"{number(detector.inner)}–{number(detector.outer)}" if detector.inner else number(detector.outer)


def _append(columns: dict[str, list[Any]], **values: Any) -> None:
    for name, value in values.items():
        columns[name].append(value)
