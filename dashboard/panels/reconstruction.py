"""Object phase, its noise, and the probe of the running or last refinement."""

from __future__ import annotations

from bokeh.models import InlineStyleSheet, Select

from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import SLICE, SLICE_AMPLITUDE, SLICE_WHEEL, Picture
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import UNKNOWN, limits, scatter
from ptylive.pictures.colours import ColourMap, gradient, wheel_gradient

PHASE, AMPLITUDE, WHEEL, DEVIATION = "phase", "amplitude", "phase and amplitude", "standard deviation"
SHOWS = {PHASE: "object", AMPLITUDE: "object_amplitude", WHEEL: "object_wheel", DEVIATION: "object_deviation"}
"""What the object can be shown as, and the name of the picture."""
OF_SLICES = {PHASE: SLICE, AMPLITUDE: SLICE_AMPLITUDE, WHEEL: SLICE_WHEEL}
"""Prefixes of the same pictures for a single slice, where these exist."""
OBJECT_SHOWS = (PHASE, AMPLITUDE, WHEEL)
"""Entries of the chooser; the standard deviation has a button."""
TITLES = {
    PHASE: "Object phase",
    AMPLITUDE: "Object amplitude",
    WHEEL: "Object",
    DEVIATION: "Standard deviation of the phase",
}


class ReconstructionPanel:
    """The phase of the object (sum over slices) or its standard deviation, and the amplitudes of the probe modes."""

    def __init__(self, style: InlineStyleSheet) -> None:
        self.object = PictureFigure("object", colour_map=ColourMap.MAGMA, dims=True)
        self.probe = PictureFigure("probe", colour_map=ColourMap.INFERNO, others=[Window()])
        self.slice = 0
        self.shows = PHASE
        """One of SHOWS."""
        self.in_fourier_space = False
        """Whether the probe is shown in the aperture plane."""
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
        """Models that the page places."""
        return self.object.plot, self.probe.plot, self.colours

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """The figures and the names of the pictures they show."""
        return (self.object, self._shown), (self.probe, "probe_fourier" if self.in_fourier_space else "probe")

    @property
    def _shown(self) -> str:
        if self.slice and self.shows in OF_SLICES:
            return f"{OF_SLICES[self.shows]}{self.slice}"
        return SHOWS[self.shows]

    @property
    def exported(self) -> str:
        """Name of the picture that the server is to write; for phase and amplitude as one picture, the phase."""
        return self._shown if self.shows != WHEEL else f"{SLICE}{self.slice}" if self.slice else SHOWS[PHASE]

    @property
    def phase_limits(self) -> tuple[float, float]:
        """Contrast of the phase, as it is or was last displayed."""
        if self.shows == PHASE:
            self._phase_limits = self.object.limits
        return self._phase_limits

    def choose(self, request: Request, slices: int) -> None:
        """Handle a choice made on the page."""
        if request.key == "fourier":
            self.in_fourier_space = not self.in_fourier_space
            self.probe.forget()
        elif request.key == "shows" and request.value in SHOWS:
            self._show(request.value)
        elif request.key == "deviation":
            self._show(PHASE if self.shows == DEVIATION else DEVIATION)
        elif request.key == "entire":
            self.object.window.entire = not self.object.window.entire
            self.object.forget()
        elif len(request.numbers) == 1:
            self.choose_slice(int(request.numbers[0]), slices)

    def _show(self, quantity: str) -> None:
        """Show phase, amplitude, both, or the standard deviation of the phase; each with its own contrast."""
        if quantity != self.shows:
            self._phase_limits, self.shows = self.phase_limits, quantity
            self.object.locked = None
            self.object.forget()

    def marks(self, available: frozenset[str]) -> dict[str, str]:
        """What can be chosen, and what is chosen: standard deviation, amplitude, the probe in Fourier space."""
        deviates = self.shows == DEVIATION
        deviation = "on" if deviates else "off"
        return {
            "deviation": deviation if deviates or "object_deviation" in available else "none",
            "amplitude": "on" if "object_amplitude" in available else "off",
            "object_shows": self.shows,
            "entire": "on" if self.object.window.entire else "off",
            "fourier": "on" if self.in_fourier_space else "off",
        }

    def choose_slice(self, number: int, slices: int) -> None:
        """Show one of ``slices`` slices, or their projection (0), for which alone the standard deviation is known."""
        if self.shows == DEVIATION:
            self._show(PHASE)
        self.slice = number if 0 <= number <= slices else 0
        self.object.forget()

    def texts(self, name: str, picture: Picture | None) -> dict[str, str]:
        """Limits of the colour bar, powers of the modes, and the reason if there is nothing."""
        if name.startswith("probe"):
            return {
                "probe_powers": picture.note if picture else UNKNOWN,
                "probe_note": "" if picture else "no probe yet",
            }
        low, high = limits(*self.object.limits) if picture else (UNKNOWN, UNKNOWN)
        noise = "" if picture is None else scatter(picture.deviation, at_least=picture.at_least)
        wheel = self.shows == WHEEL
        note = "no refinement yet" if self.shows == PHASE else f"no {self.shows} of this refinement"
        return {
            "object_low": "" if wheel else low,
            "object_high": "" if wheel else high,
            "object_title": TITLES[self.shows],
            "object_units": "" if picture is None else picture.note if wheel else f"{picture.units}{noise}",
            "object_note": "" if picture else note,
        }

    def styles(self) -> dict[str, str]:
        """The colour bar, or the wheel in its place."""
        wheel = self.shows == WHEEL
        bar = gradient(self.object.colour_map, gamma=self.object.gamma)
        return {
            "--object-bar": "linear-gradient(var(--box), var(--box))" if wheel else bar,
            "--object-wheel": wheel_gradient() if wheel else "none",
            "--object-legend": "block" if wheel else "none",
        }
