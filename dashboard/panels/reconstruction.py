"""Object phase, how far noise scatters it, and probe of the running or last refinement."""

from __future__ import annotations

from bokeh.models import InlineStyleSheet, Select

from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import SLICE, Picture
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import UNKNOWN, limits, number
from ptylive.pictures.colours import ColourMap, gradient


class ReconstructionPanel:
    """The phase of the object (sum over slices) or its standard deviation, and the amplitudes of the probe modes."""

    def __init__(self, style: InlineStyleSheet) -> None:
        self.object = PictureFigure("object", colour_map=ColourMap.MAGMA)
        self.probe = PictureFigure("probe", colour_map=ColourMap.INFERNO)
        self.slice = 0
        self.shows_deviation = False
        self._phase_limits = (0.0, 1.0)
        self.colours = Select(
            name="object_colours",
            value=str(ColourMap.MAGMA),
            options=[str(c) for c in ColourMap],
            width=82,
            height=24,
            margin=0,
            stylesheets=[style],
        )
        self.colours.on_change("value", lambda _attr, _old, new: self.object.wear(ColourMap(new)))

    @property
    def roots(self) -> tuple[object, ...]:
        """What the page places."""
        return self.object.figure, self.probe.figure, self.colours

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figures and what they show."""
        return (self.object, self._shown), (self.probe, "probe")

    @property
    def _shown(self) -> str:
        if self.shows_deviation:
            return "object_deviation"
        return f"{SLICE}{self.slice}" if self.slice else "object"

    @property
    def phase_limits(self) -> tuple[float, float]:
        """Contrast of the phase, as it is shown or was last."""
        if not self.shows_deviation:
            self._phase_limits = self.object.limits
        return self._phase_limits

    def choose(self, request: Request, slices: int) -> None:
        """What a page asks to see."""
        if request.key == "deviation":
            self.choose_deviation()
        elif len(request.numbers) == 1:
            self.choose_slice(int(request.numbers[0]), slices)

    def choose_deviation(self) -> None:
        """Show how far noise scatters the phase, or the phase again."""
        self._phase_limits, self.shows_deviation = self.phase_limits, not self.shows_deviation
        self.object.forget()

    def marks(self, available: frozenset[str]) -> dict[str, str]:
        """Whether the standard deviation is there to be chosen, and whether it is."""
        there = "on" if self.shows_deviation else "off"
        return {"deviation": there if self.shows_deviation or "object_deviation" in available else "none"}

    def choose_slice(self, number: int, slices: int) -> None:
        """Show one slice of ``slices``, or their sum (0)."""
        self.slice, self.shows_deviation = number if 0 <= number <= slices else 0, False
        self.object.forget()

    def texts(self, name: str, picture: Picture | None) -> dict[str, str]:
        """Limits of the colour bar, powers of the modes, and why there is nothing."""
        if name == "probe":
            return {
                "probe_powers": picture.note if picture else UNKNOWN,
                "probe_note": "" if picture else "no probe yet",
            }
        low, high = limits(*self.object.limits) if picture else (UNKNOWN, UNKNOWN)
        scatter = "" if picture is None or picture.deviation is None else f" ± {number(picture.deviation, 2)}"
        nothing = "no standard deviation of this refinement" if self.shows_deviation else "no refinement yet"
        return {
            "object_low": low,
            "object_high": high,
            "object_title": "Standard deviation of the phase" if self.shows_deviation else "Object phase",
            "object_units": f"{picture.units}{scatter}" if picture else "",
            "object_note": "" if picture else nothing,
        }

    def styles(self) -> dict[str, str]:
        """The colour bar."""
        return {"--object-bar": gradient(self.object.colour_map, gamma=self.object.gamma)}
