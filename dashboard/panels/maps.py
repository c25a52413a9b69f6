"""The mosaic: four live maps that share zoom and cursor, each with a chooser of map, colours, contrast and FFT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bokeh.models import CrosshairTool, CustomJS, InlineStyleSheet, Select, Span, Toggle
from bokeh.plotting import figure

from ptylive.dashboard.client.map_kinds import FIRST_CHOICE, MORE_CHOICE, REFINED, MapKinds
from ptylive.dashboard.panels.live.bokeh_defaults import unchecked
from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import FFT, OVERWRITING, Picture
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import UNKNOWN, carried, limits, number, scatter
from ptylive.pictures.colours import ColourMap, Levels, gradient, wheel_gradient
from ptylive.schema.maps import doubt_of

SAME_EVERYWHERE = "the same value everywhere"


class MapPanel:
    """One panel of the mosaic; ``index`` counts from 0 in reading order; ``kinds``: the maps the server makes."""

    def __init__(self, index: int, kinds: MapKinds, windows: tuple[Window, Window], style: InlineStyleSheet) -> None:
        self.index = index
        self._kinds = kinds
        self.kind = kind = kinds.called((*FIRST_CHOICE, *MORE_CHOICE)[index])
        self.on_choice: Callable[[], None] = lambda: None
        self.overwrites = False
        """Whether a new scan is drawn over the previous one, or on a blank background."""
        self._colours: dict[str, ColourMap] = {}
        self.view = PictureFigure(f"map_{index}", windows[0], kind.colour_map, others=windows[1:])
        common = {"height": 24, "margin": 0, "stylesheets": [style]}
        with unchecked():
            self.choice = Select(
                name=f"map_{index}_choice", value=kind.name, options=kinds.offered(()), width=142, **common
            )
            self.colours = Select(
                name=f"map_{index}_colours",
                value=str(kind.colour_map),
                options=[str(c) for c in ColourMap],
                width=82,
                **common,
            )
        self.lock = Toggle(name=f"map_{index}_lock", label="auto", width=58, **common)
        self.fft = Toggle(name=f"map_{index}_fft", label="FFT", width=42, **common)
        self._forbid()
        self.choice.on_change("value", self._choose)
        self.colours.on_change("value", self._colour)
        self.lock.on_change("active", self._hold)
        self.fft.on_change("active", self._transform)

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return self.view.plot, self.choice, self.colours, self.lock, self.fft

    @property
    def shows_fft(self) -> bool:
        """Whether the panel shows a Fourier transform; vector maps have none."""
        return bool(self.fft.active) and self.kind.name != "dpc"

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figure and the name of the picture it shows."""
        return ((self.view, self.kind.name + (FFT if self.shows_fft else OVERWRITING if self.overwrites else "")),)

    def offer(self, options: list[tuple[str, str]], kinds: MapKinds) -> None:
        """Update the maps to choose from; the displayed one stays among them."""
        if kinds != self._kinds:
            self._adopt(kinds)
        if (self.kind.name, self.kind.label) not in options:
            options = [*options, (self.kind.name, self.kind.label)]
        if self.choice.options != options:
            self.choice.options = options

    def _adopt(self, kinds: MapKinds) -> None:
        """Adopt the server's label and colours of the map, unless the viewer has changed the colours."""
        before, self._kinds = self.kind, kinds
        self.kind = kinds.called(before.name)
        if self.kind.colour_map is not before.colour_map and self.colours.value == str(before.colour_map):
            self.colours.value = str(self.kind.colour_map)

    def choose(self, number: int) -> None:
        """Show the map at position ``number`` (from 1) in the chooser; do nothing if there is none."""
        if 1 <= number <= len(self.choice.options):
            self.choice.value = self.choice.options[number - 1][0]

    def next_colours(self) -> None:
        """Switch to the next colour map."""
        every = list(ColourMap)
        self.colours.value = str(every[(every.index(ColourMap(self.colours.value)) + 1) % len(every)])

    def _choose(self, _attr: str, _old: str, new: str) -> None:
        self.kind = self._kinds.called(new)
        self._forbid()
        self.colours.value = str(self._colours.get(new, self.kind.colour_map))
        self._reset_picture()

    def _forbid(self) -> None:
        """Disable colours and transform for vector maps, which have colours of their own and no transform."""
        self.colours.disabled = self.fft.disabled = self.kind.name == "dpc"

    def _transform(self, _attr: str, _old: bool, _new: bool) -> None:
        self._reset_picture()

    def hold(self, limits: Levels | None) -> None:
        """Fix the contrast between two values; None: let it follow the data."""
        self.lock.active = limits is not None
        self.view.locked = limits

    def _reset_picture(self) -> None:
        """Prepare for another picture, with its own contrast."""
        self.view.set_gamma(1.0)
        self.lock.active = False
        self.view.forget()
        self.on_choice()

    def _colour(self, _attr: str, _old: str, new: str) -> None:
        self._colours[self.kind.name] = ColourMap(new)
        self.view.wear(ColourMap(new))

    def _hold(self, _attr: str, _old: bool, new: bool) -> None:
        self.view.locked = self.view.limits if new else None
        self.lock.label = "locked" if new else "auto"

    def texts(self, name: str, picture: Picture | None) -> dict[str, str]:
        """Captions of the panel: limits and unit of the colour bar, or why there is no map (yet)."""
        if picture is not None and self.view.showing != name:
            return {f"map_{self.index}_note": "…"}
        key = f"map_{self.index}"
        low, high = limits(*self.view.limits) if picture else (UNKNOWN, UNKNOWN)
        return {
            f"{key}_low": low,
            f"{key}_high": high,
            f"{key}_units": _units(picture) if picture else "",
            f"{key}_limit": _limit(picture) if picture else "",
            f"{key}_units_about": _units_title(picture) if picture else "",
            f"{key}_method": picture.method if picture else "",
            f"{key}_note": _note(picture) if picture else "no data yet",
            f"{key}_about": self.kind.about,
        }

    def styles(self) -> dict[str, str]:
        """The colour bar, or the legend of the wheel if vectors are shown."""
        wheel = self.kind.name == "dpc"
        bar = (
            "linear-gradient(var(--box), var(--box))"
            if wheel
            else gradient(self.view.colour_map, gamma=self.view.gamma)
        )
        return {
            f"--map-{self.index}-bar": bar,
            f"--map-{self.index}-wheel": wheel_gradient() if wheel else "none",
            f"--map-{self.index}-legend": "block" if wheel else "none",
        }


def _units(picture: Picture) -> str:
    """Unit of a map, and how far noise scatters a pixel if that is known."""
    return f"{picture.units}{scatter(picture.deviation, at_least=picture.at_least)}"


def _limit(picture: Picture) -> str:
    """The finest period that a map carries, if that is known."""
    limit = picture.carries.get(1.0)
    return "" if limit is None or not limit.is_known else f"{number(limit.period_A, 3)} Å"


def _units_title(picture: Picture) -> str:
    """Unit and limit in words, and what more dose would bring."""
    lines = ["unit" if picture.deviation is None else "unit; ±: one standard deviation of a pixel from noise"]
    for dose, limit in picture.carries.items():
        label = "information limit" if dose == 1 else f"with {dose:g} × the dose"
        lines.append(f"{label}: {carried(limit)}")
    return "\n".join(lines)


def _note(picture: Picture) -> str:
    same = picture.complete and picture.data.size > 1 and not np.ptp(picture.data)
    return doubt_of(buried=picture.buried, faint=picture.faint) or (SAME_EVERYWHERE if same else "")


PAIR, SIX = "pair", "six"
"""Layouts that the browser reports: object next to map, and two more panels; all others have the same panels."""


class Mosaic:
    """Six panels over one window, and another one for their Fourier transforms; four are shown unless six are wanted.

    ``on_layout`` is called when other panels are displayed.
    """

    def __init__(self, style: InlineStyleSheet, kinds: MapKinds) -> None:
        self.window, self.frequencies = Window(), Window()
        windows = (self.window, self.frequencies)
        self.panels = [MapPanel(index, kinds, windows, style) for index in range(len(FIRST_CHOICE + MORE_CHOICE))]
        self.first, self.more = self.panels[: len(FIRST_CHOICE)], self.panels[len(FIRST_CHOICE) :]
        self.on_layout: Callable[[], None] = lambda: None
        self.layout = ""
        self._replaced = ""
        """Map that the second panel showed before the object replaced it."""
        self._offered: tuple[frozenset[str], MapKinds] | None = None
        self._seen: frozenset[str] = frozenset()
        self._share_cursor()

    @property
    def shown(self) -> list[MapPanel]:
        """The panels in this browser's layout."""
        return self.panels if self.layout == SIX else self.panels[:2] if self.layout == PAIR else self.first

    def lay_out(self, request: Request) -> None:
        """Apply the browser's layout; ``pair`` puts the refined object next to the first map, if there is one."""
        second = self.panels[1].choice
        if (
            request.key == PAIR
            and second.value != REFINED.name
            and REFINED.name in [name for name, _ in second.options]
        ):
            self._replaced, second.value = second.value, REFINED.name
        elif request.key != PAIR and self._replaced:
            second.value = self._replaced if second.value == REFINED.name else second.value
            self._replaced = ""
        self.layout = request.key
        self.on_layout()

    def overwrite(self, watch: Callable[[], None]) -> None:
        """Toggle whether a new scan is drawn over the previous one; ``watch`` is called to request other pictures."""
        for panel in self.panels:
            panel.overwrites = not panel.overwrites
        watch()

    def offer(self, available: frozenset[str], kinds: MapKinds) -> None:
        """Let every panel choose from the maps that have arrived, or that the server makes.

        A map of an earlier scan stays in the list: it must not vanish from under the viewer's hand.
        """
        if (available, kinds) != self._offered:
            self._offered = (available, kinds)
            self._seen |= available & kinds.known.keys()
            options = kinds.offered(available | self._seen)
            for panel in self.panels:
                panel.offer(options, kinds)

    def _share_cursor(self) -> None:
        spans = [
            Span(dimension=dimension, line_color="#ffffff", line_alpha=0.45, line_width=1)
            for dimension in ("width", "height")
        ]
        handlers = {  # attached to no figure, like extents: the browser finds figures by name
            event: CustomJS(code=f"window.ptylive?.cursor({event!r}, cb_obj)") for event in ("mousemove", "mouseleave")
        }

        def share(plot: figure) -> None:
            plot.add_tools(CrosshairTool(overlay=spans))
            for event, handler in handlers.items():
                plot.js_on_event(event, handler)

        for panel in self.panels:
            panel.view.plot.adorn(share)
