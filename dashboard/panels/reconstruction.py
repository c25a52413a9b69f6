"""Object phase and probe of the running or last refinement."""

from __future__ import annotations

from bokeh.models import InlineStyleSheet, Select

from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import SLICE, Picture
from ptylive.dashboard.words import UNKNOWN, limits
from ptylive.pictures.colours import ColourMap, gradient


class ReconstructionPanel:
    """The phase of the object (sum over slices) and the amplitudes of the probe modes."""

    def __init__(self, style: InlineStyleSheet) -> None:
        self.object = PictureFigure("object", colour_map=ColourMap.MAGMA)
        self.probe = PictureFigure("probe", colour_map=ColourMap.INFERNO)
        self.slice = 0
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
        return (self.object, f"{SLICE}{self.slice}" if self.slice else "object"), (self.probe, "probe")

    def choose_slice(self, number: int, slices: int) -> None:
        """Show one slice of ``slices``, or their sum (0)."""
        self.slice = number if 0 <= number <= slices else 0
        self.object.forget()

    def texts(self, name: str, picture: Picture | None) -> dict[str, str]:
        """Limits of the colour bar, powers of the modes, and why there is nothing."""
        if name == "probe":
            return {
                "probe_powers": picture.note if picture else UNKNOWN,
                "probe_note": "" if picture else "no probe yet",
            }
        low, high = limits(*self.object.limits) if picture else (UNKNOWN, UNKNOWN)
        return {
            "object_low": low,
            "object_high": high,
            "object_units": picture.units if picture else "",
            "object_note": "" if picture else "no refinement yet",
        }

    def styles(self) -> dict[str, str]:
        """The colour bar."""
        return {"--object-bar": gradient(self.object.colour_map)}
