"""The mosaic: four live maps that share zoom and cursor, each with its chooser of map, colours, contrast and FFT."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bokeh.models import CrosshairTool, CustomJS, InlineStyleSheet, Select, Span, Toggle

from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import FFT, OVERWRITING, Picture
from ptylive.dashboard.words import UNKNOWN, limits
from ptylive.pictures.colours import ColourMap, gradient, wheel_gradient


@dataclass(frozen=True)
class MapKind:
    """A live map as the chooser offers it."""

    name: str
    label: str
    colour_map: ColourMap = ColourMap.GRAY

    @classmethod
    def called(cls, name: str) -> MapKind:
        """The kind of that name; a map nobody told us about is offered under its own name."""
        if name in KINDS:
            return KINDS[name]
        if name.startswith(DETECTOR):
            return cls(name, f"detector {name.removeprefix(DETECTOR)}")
        return cls(name, name.replace("_", " "))


MAP_KINDS: tuple[MapKind, ...] = (
    MapKind("obf", "phase (OBF)", ColourMap.MAGMA),
    MapKind("tcbf", "tilt-corrected BF"),
    MapKind("idpc", "iDPC phase", ColourMap.MAGMA),
    MapKind("adf", "annular DF"),
    MapKind("bf", "bright field"),
    MapKind("abf", "annular BF"),
    MapKind("dpc", "DPC colour wheel"),
    MapKind("wdd_phase", "WDD phase", ColourMap.MAGMA),
    MapKind("wdd_amplitude", "WDD amplitude"),
    MapKind("com_row", "centre of mass, rows"),
    MapKind("com_col", "centre of mass, columns"),
    MapKind("ssb", "SSB phase", ColourMap.MAGMA),
    MapKind("dpc_iterative", "iterative DPC", ColourMap.MAGMA),
)
KINDS = {kind.name: kind for kind in MAP_KINDS}
ONLY_WHEN_THERE = frozenset({"ssb", "dpc_iterative"})
"""Maps that not every server makes: offered once they have come."""
NOT_MAPS = frozenset({"coverage", "pattern", "pattern_mean", "object", "probe", "slices"})
DETECTOR = "vd_"
FIRST_CHOICE = ("obf", "tcbf", "idpc", "adf")
"""Maps of the four panels when the page opens."""


def offered(available: Iterable[str]) -> list[tuple[str, str]]:
    """(name, label) of every map to choose from: those every scan has, then whatever else has come."""
    names = {kind.name for kind in MAP_KINDS} - ONLY_WHEN_THERE | set(available) - NOT_MAPS
    order = {kind.name: i for i, kind in enumerate(MAP_KINDS)}
    kinds = (MapKind.called(name) for name in sorted(names, key=lambda n: (order.get(n, len(order)), n)))
    return [(kind.name, kind.label) for kind in kinds]


class MapPanel:
    """One panel of the mosaic; ``index`` counts from 0 in reading order."""

    def __init__(self, index: int, kind: MapKind, windows: tuple[Window, Window], style: InlineStyleSheet) -> None:
        self.index = index
        self.kind = kind
        self.on_choice: Callable[[], None] = lambda: None
        self.overwrites = False
        """Whether a new scan is drawn over the one before, or on a fresh ground."""
        self._colours: dict[str, ColourMap] = {}
        self.view = PictureFigure(f"map_{index}", windows[0], kind.colour_map, others=windows[1:])
        common = {"height": 24, "margin": 0, "stylesheets": [style]}
        self.choice = Select(name=f"map_{index}_choice", value=kind.name, options=offered(()), width=165, **common)
        self.colours = Select(
            name=f"map_{index}_colours",
            value=str(kind.colour_map),
            options=[str(c) for c in ColourMap],
            width=82,
            **common,
        )
        self.lock = Toggle(name=f"map_{index}_lock", label="auto", width=58, **common)
        self.fft = Toggle(name=f"map_{index}_fft", label="FFT", width=42, **common)
        self.choice.on_change("value", self._choose)
        self.colours.on_change("value", self._colour)
        self.lock.on_change("active", self._hold)
        self.fft.on_change("active", self._transform)

    @property
    def roots(self) -> tuple[object, ...]:
        """What the page places."""
        return self.view.figure, self.choice, self.colours, self.lock, self.fft

    @property
    def shows_fft(self) -> bool:
        """Whether the panel shows a Fourier transform; vectors have none."""
        return bool(self.fft.active) and self.kind.name != "dpc"

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figure and the picture it shows."""
        return ((self.view, self.kind.name + (FFT if self.shows_fft else OVERWRITING if self.overwrites else "")),)

    def offer(self, options: list[tuple[str, str]]) -> None:
        """Maps to choose from; the one that is shown stays among them."""
        if (self.kind.name, self.kind.label) not in options:
            options = [*options, (self.kind.name, self.kind.label)]
        if self.choice.options != options:
            self.choice.options = options

    def choose(self, number: int) -> None:
        """Show the map that stands at ``number`` (from 1) in the chooser; nothing happens when there is none."""
        if 1 <= number <= len(self.choice.options):
            self.choice.value = self.choice.options[number - 1][0]

    def next_colours(self) -> None:
        """The colour map after the present one."""
        every = list(ColourMap)
        self.colours.value = str(every[(every.index(ColourMap(self.colours.value)) + 1) % len(every)])

    def _choose(self, _attr: str, _old: str, new: str) -> None:
        self.kind = MapKind.called(new)
        self.colours.disabled = self.fft.disabled = new == "dpc"  # vectors have colours of their own, and no transform
        self.colours.value = str(self._colours.get(new, self.kind.colour_map))
        self._start_again()

    def _transform(self, _attr: str, _old: bool, _new: bool) -> None:
        self._start_again()

    def _start_again(self) -> None:
        """Another picture comes, with a contrast of its own."""
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
            f"{key}_units": picture.units if picture else "",
            f"{key}_method": picture.method if picture else "",
            f"{key}_note": "" if picture else "no data yet",
        }

    def styles(self) -> dict[str, str]:
        """The colour bar, and the legend of the wheel beside it where vectors are shown."""
        wheel = self.kind.name == "dpc"
        bar = "linear-gradient(var(--box), var(--box))" if wheel else gradient(self.view.colour_map)
        return {
            f"--map-{self.index}-bar": bar,
            f"--map-{self.index}-wheel": wheel_gradient() if wheel else "none",
            f"--map-{self.index}-legend": "block" if wheel else "none",
        }


class Mosaic:
    """Four panels over one window, and another one for their Fourier transforms."""

    def __init__(self, style: InlineStyleSheet) -> None:
        self.window, self.frequencies = Window(), Window()
        windows = (self.window, self.frequencies)
        self.panels = [MapPanel(index, KINDS[name], windows, style) for index, name in enumerate(FIRST_CHOICE)]
        self._available: frozenset[str] | None = None
        self._share_cursor()

    def offer(self, available: frozenset[str]) -> None:
        """Let every panel choose from the maps that have come."""
        if available != self._available:
            self._available = available
            options = offered(available)
            for panel in self.panels:
                panel.offer(options)

    def _share_cursor(self) -> None:
        spans = [
            Span(dimension=dimension, line_color="#ffffff", line_alpha=0.45, line_width=1)
            for dimension in ("width", "height")
        ]
        figures = [panel.view.figure for panel in self.panels]
        sources = [panel.view.source for panel in self.panels]
        choices = [panel.choice for panel in self.panels]
        for figure in figures:
            figure.add_tools(CrosshairTool(overlay=spans))
            for event in ("mousemove", "mouseleave"):
                arguments = {"sources": sources, "choices": choices, "figures": figures, "event": event}
                code = "window.ptylive?.cursor(event, cb_obj, {sources, choices, figures})"
                figure.js_on_event(event, CustomJS(args=arguments, code=code))
