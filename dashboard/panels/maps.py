"""The mosaic: four live maps that share zoom and cursor, each with its chooser of map, colours and contrast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bokeh.models import CrosshairTool, CustomJS, InlineStyleSheet, Select, Span, Toggle

from ptylive.dashboard.colours import ColourMap, gradient
from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import Picture
from ptylive.dashboard.words import UNKNOWN, limits


@dataclass(frozen=True)
class MapKind:
    """A live map as the chooser offers it."""

    name: str
    label: str
    colour_map: ColourMap = ColourMap.GRAY


MAP_KINDS: tuple[MapKind, ...] = (
    MapKind("idpc", "iDPC phase", ColourMap.MAGMA),
    MapKind("obf", "OBF phase", ColourMap.MAGMA),
    MapKind("wdd_phase", "WDD phase", ColourMap.MAGMA),
    MapKind("wdd_amplitude", "WDD amplitude"),
    MapKind("tcbf", "tilt-corrected BF"),
    MapKind("bf", "bright field"),
    MapKind("abf", "annular BF"),
    MapKind("adf", "annular DF"),
    MapKind("com_row", "centre of mass, rows"),
    MapKind("com_col", "centre of mass, columns"),
)
KINDS = {kind.name: kind for kind in MAP_KINDS}
FIRST_CHOICE = ("idpc", "tcbf", "wdd_phase", "adf")
"""Maps of the four panels when the page opens."""


class MapPanel:
    """One panel of the mosaic; ``index`` counts from 0 in reading order."""

    def __init__(
        self, index: int, kind: MapKind, window: Window, style: InlineStyleSheet, on_choice: Callable[[], None]
    ) -> None:
        self.index = index
        self.kind = kind
        self._colours: dict[str, ColourMap] = {}
        self._on_choice = on_choice
        self.view = PictureFigure(f"map_{index}", window, kind.colour_map)
        self.choice = Select(
            name=f"map_{index}_choice",
            value=kind.name,
            options=[(k.name, k.label) for k in MAP_KINDS],
            width=165,
            height=24,
            margin=0,
            stylesheets=[style],
        )
        self.colours = Select(
            name=f"map_{index}_colours",
            value=str(kind.colour_map),
            options=[str(c) for c in ColourMap],
            width=82,
            height=24,
            margin=0,
            stylesheets=[style],
        )
        self.lock = Toggle(name=f"map_{index}_lock", label="auto", width=58, height=24, margin=0, stylesheets=[style])
        self.choice.on_change("value", self._choose)
        self.colours.on_change("value", self._colour)
        self.lock.on_change("active", self._hold)

    @property
    def roots(self) -> tuple[object, ...]:
        """What the page places."""
        return self.view.figure, self.choice, self.colours, self.lock

    def _choose(self, _attr: str, _old: str, new: str) -> None:
        self.kind = KINDS.get(new, self.kind)
        self.colours.value = str(self._colours.get(new, self.kind.colour_map))
        self.lock.active = False
        self.view.forget()
        self._on_choice()

    def _colour(self, _attr: str, _old: str, new: str) -> None:
        self._colours[self.kind.name] = ColourMap(new)
        self.view.wear(ColourMap(new))

    def _hold(self, _attr: str, _old: bool, new: bool) -> None:
        self.view.locked = self.view.limits if new else None
        self.lock.label = "locked" if new else "auto"

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figure and the map it shows."""
        return ((self.view, self.kind.name),)

    def texts(self, _name: str, picture: Picture | None) -> dict[str, str]:
        """What stands under the panel: limits and units of the colour bar, and why there is no map."""
        key = f"map_{self.index}"
        low, high = limits(*self.view.limits) if picture else (UNKNOWN, UNKNOWN)
        return {
            f"{key}_low": low,
            f"{key}_high": high,
            f"{key}_units": picture.units if picture else "",
            f"{key}_method": picture.method if picture else "",
            f"{key}_note": "" if picture else "no data yet",
        }

    def styles(self) -> dict[str, str]:
        """The colour bar."""
        return {f"--map-{self.index}-bar": gradient(self.view.colour_map)}


class Mosaic:
    """Four panels over one window."""

    def __init__(self, style: InlineStyleSheet, on_choice: Callable[[], None]) -> None:
        self.window = Window()
        self.panels = [
            MapPanel(index, KINDS[name], self.window, style, on_choice) for index, name in enumerate(FIRST_CHOICE)
        ]
        spans = [
            Span(dimension=dimension, line_color="#ffffff", line_alpha=0.45, line_width=1)
            for dimension in ("width", "height")
        ]
        sources = [panel.view.source for panel in self.panels]
        choices = [panel.choice for panel in self.panels]
        for panel in self.panels:
            panel.view.figure.add_tools(CrosshairTool(overlay=spans))
            for event in ("mousemove", "mouseleave"):
                panel.view.figure.js_on_event(
                    event,
                    CustomJS(
                        args={"sources": sources, "choices": choices, "event": event},
                        code="window.ptylive?.cursor(event, cb_obj, sources, choices)",
                    ),
                )
