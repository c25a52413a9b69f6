"""Object phase and probe of the running or last refinement."""

from __future__ import annotations

from bokeh.models import InlineStyleSheet, Select

from ptylive.dashboard.colours import ColourMap, gradient
from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import Picture
from ptylive.dashboard.words import UNKNOWN, limits


class ReconstructionPanel:
    """The phase of the object (sum over slices) and the amplitudes of the probe modes."""

    NAMES = frozenset({"object", "probe"})

    def __init__(self, style: InlineStyleSheet) -> None:
        self.object = PictureFigure("object", colour_map=ColourMap.MAGMA)
        self.probe = PictureFigure("probe", colour_map=ColourMap.INFERNO)
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

    def texts(self, phase: Picture | None, probe: Picture | None) -> dict[str, str]:
        """Limits of the colour bar, powers of the modes, and why there is nothing."""
        low, high = limits(*self.object.limits) if phase else (UNKNOWN, UNKNOWN)
        return {
            "object_low": low,
            "object_high": high,
            "object_units": "rad",
            "object_note": "" if phase else "no refinement yet",
            "probe_powers": probe.note if probe else UNKNOWN,
            "probe_note": "" if probe else "no probe yet",
        }

    def styles(self) -> dict[str, str]:
        """The colour bar."""
        return {"--object-bar": gradient(self.object.colour_map)}
