"""The mosaic: four live maps that share zoom and cursor, each with its chooser of map, colours, contrast and FFT."""

from __future__ import annotations

from collections.abc import Callable

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


class MapPanel:
    """One panel of the mosaic; ``index`` counts from 0 in reading order; ``kinds``: what the server makes."""

    def __init__(self, index: int, kinds: MapKinds, windows: tuple[Window, Window], style: InlineStyleSheet) -> None:
        self.index = index
        self._kinds = kinds
        self.kind = kind = kinds.called((*FIRST_CHOICE, *MORE_CHOICE)[index])
        self.on_choice: Callable[[], None] = lambda: None
        self.overwrites = False
        """Whether a new scan is drawn over the one before, or on a fresh ground."""
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
        """What the page places."""
        return self.view.plot, self.choice, self.colours, self.lock, self.fft

    @property
    def shows_fft(self) -> bool:
        """Whether the panel shows a Fourier transform; vectors have none."""
        return bool(self.fft.active) and self.kind.name != "dpc"

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figure and the picture it shows."""
        return ((self.view, self.kind.name + (FFT if self.shows_fft else OVERWRITING if self.overwrites else "")),)

    def offer(self, options: list[tuple[str, str]], kinds: MapKinds) -> None:
        """Maps to choose from; the one that is shown stays among them."""
        if kinds != self._kinds:
            self._learn(kinds)
        if (self.kind.name, self.kind.label) not in options:
            options = [*options, (self.kind.name, self.kind.label)]
        if self.choice.options != options:
            self.choice.options = options

    def _learn(self, kinds: MapKinds) -> None:
        """Call and colour the map as the server wants it, unless the viewer has coloured it already."""
        before, self._kinds = self.kind, kinds
        self.kind = kinds.called(before.name)
        if self.kind.colour_map is not before.colour_map and self.colours.value == str(before.colour_map):
            self.colours.value = str(self.kind.colour_map)

    def choose(self, number: int) -> None:
        """Show the map that stands at ``number`` (from 1) in the chooser; nothing happens when there is none."""
        if 1 <= number <= len(self.choice.options):
            self.choice.value = self.choice.options[number - 1][0]

    def next_colours(self) -> None:
        """The colour map after the present one."""
        every = list(ColourMap)
        self.colours.value = str(every[(every.index(ColourMap(self.colours.value)) + 1) % len(every)])

    def _choose(self, _attr: str, _old: str, new: str) -> None:
        self.kind = self._kinds.called(new)
        self._forbid()
        self.colours.value = str(self._colours.get(new, self.kind.colour_map))
        self._start_again()

    def _forbid(self) -> None:
        """Vectors have colours of their own, and no transform."""
        self.colours.disabled = self.fft.disabled = self.kind.name == "dpc"

    def _transform(self, _attr: str, _old: bool, _new: bool) -> None:
        self._start_again()

    def hold(self, limits: Levels | None) -> None:
        """Contrast between two values from now on; None: it follows the data."""
        self.lock.active = limits is not None
        self.view.locked = limits

    def _start_again(self) -> None:
        """Another picture comes, with a contrast of its own."""
        self.view.bend(1.0)
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
        """What stands under the panel: limits and units of the colour bar; and why there is no map, or not yet."""
        if picture is not None and self.view.showing != name:
            return {f"map_{self.index}_note": "…"}
        key = f"map_{self.index}"
        low, high = limits(*self.view.limits) if picture else (UNKNOWN, UNKNOWN)
        return {
            f"{key}_low": low,
            f"{key}_high": high,
            f"{key}_units": _units(picture) if picture else "",
            f"{key}_limit": _limit(picture) if picture else "",
            f"{key}_units_about": _about_units(picture) if picture else "",
            f"{key}_method": picture.method if picture else "",
            f"{key}_note": _note(picture) if picture else "no data yet",
            f"{key}_about": self.kind.about,
        }

    def styles(self) -> dict[str, str]:
        """The colour bar, and the legend of the wheel beside it where vectors are shown."""
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
    """Unit of a map, and how far noise scatters a pixel where that is known."""
    return f"{picture.units}{scatter(picture.deviation, at_least=picture.at_least)}"


def _limit(picture: Picture) -> str:
    """The finest period that a map carries, where that is known."""
    now = picture.carries.get(1.0)
    return "" if now is None or not now.is_known else f"{number(now.period_A, 3)} Å"


def _about_units(picture: Picture) -> str:
    """Both in words, and what more dose would bring."""
    lines = ["unit" if picture.deviation is None else "unit; ±: one standard deviation of a pixel from noise"]
    for dose, one in picture.carries.items():
        what = "information limit" if dose == 1 else f"with {dose:g} × the dose"
        lines.append(f"{what}: {carried(one)}")
    return "\n".join(lines)


def _note(picture: Picture) -> str:
    return doubt_of(buried=picture.buried, faint=picture.faint)


PAIR, SIX = "pair", "six"
"""Layouts that the browser tells of: object beside map, and two panels more; of others the panels are the same."""


class Mosaic:
    """Six panels over one window, and another one for their Fourier transforms; four of them until six are wanted.

    ``on_layout`` is called when others are on show.
    """

    def __init__(self, style: InlineStyleSheet, kinds: MapKinds) -> None:
        self.window, self.frequencies = Window(), Window()
        windows = (self.window, self.frequencies)
        self.panels = [MapPanel(index, kinds, windows, style) for index in range(len(FIRST_CHOICE + MORE_CHOICE))]
        self.first, self.more = self.panels[: len(FIRST_CHOICE)], self.panels[len(FIRST_CHOICE) :]
        self.on_layout: Callable[[], None] = lambda: None
        self.layout = ""
        self._before = ""
        """What the second panel showed before the object stood there."""
        self._offered: tuple[frozenset[str], MapKinds] | None = None
        self._share_cursor()

    @property
    def shown(self) -> list[MapPanel]:
        """The panels that the layout of this browser has."""
        return self.panels if self.layout == SIX else self.panels[:2] if self.layout == PAIR else self.first

    def lay_out(self, request: Request) -> None:
        """The layout that the browser has; ``pair`` puts the refined object beside the first map, if there is one."""
        second = self.panels[1].choice
        if (
            request.key == PAIR
            and second.value != REFINED.name
            and REFINED.name in [name for name, _ in second.options]
        ):
            self._before, second.value = second.value, REFINED.name
        elif request.key != PAIR and self._before:
            second.value = self._before if second.value == REFINED.name else second.value
            self._before = ""
        self.layout = request.key
        self.on_layout()

    def overwrite(self, watch: Callable[[], None]) -> None:
        """Let a new scan be drawn over the one before, or on a fresh ground; ``watch``: other pictures are wanted."""
        for panel in self.panels:
            panel.overwrites = not panel.overwrites
        watch()

    def offer(self, available: frozenset[str], kinds: MapKinds) -> None:
        """Let every panel choose from the maps that have come, or that the server makes."""
        if (available, kinds) != self._offered:
            self._offered = (available, kinds)
            options = kinds.offered(available)
            for panel in self.panels:
                panel.offer(options, kinds)

    def _share_cursor(self) -> None:
        spans = [
            Span(dimension=dimension, line_color="#ffffff", line_alpha=0.45, line_width=1)
            for dimension in ("width", "height")
        ]
        told = {  # of no figure, as extents are: the browser knows them by their names
            event: CustomJS(code=f"window.ptylive?.cursor({event!r}, cb_obj)") for event in ("mousemove", "mouseleave")
        }

        def share(plot: figure) -> None:
            plot.add_tools(CrosshairTool(overlay=spans))
            for event, tell in told.items():
                plot.js_on_event(event, tell)

        for panel in self.panels:
            panel.view.plot.adorn(share)
