"""The loss curve on a logarithmic axis: sweeps and L-BFGS epochs distinguished, a line where a stage began."""

from __future__ import annotations

import math

from bokeh.models import BasicTickFormatter, ColumnDataSource, FixedTicker, Line, Range1d, Scatter, VSpan
from bokeh.plotting import figure

from ptylive.dashboard.client.state import RefinementState
from ptylive.dashboard.panels.live.later import AxesFigure
from ptylive.dashboard.panels.picture import BARE
from ptylive.dashboard.theme import COMPARED_COLOUR, PHASE_COLOURS, Theme

MOST_POINTS = 2000
NARROW, DECADES = 4.0, 30.0
"""Ratios of the ends of an axis up to which its ticks are equal steps, and beyond which they are decades."""


class LossCurve:
    """Two figures of the same points: a small one next to the maps, a large one next to the object."""

    def __init__(self, compared: ColumnDataSource) -> None:
        self.sources = {phase: ColumnDataSource(data={"epoch": [], "loss": []}) for phase in PHASE_COLOURS}
        self.stages = ColumnDataSource(data={"epoch": []})
        self.epochs, self.range = Range1d(0.5, 10.5), Range1d(0.1, 10.0)
        self._compared = compared
        self.small = AxesFigure("loss_small", lambda: self._figure("loss_small", small=True))
        self.large = AxesFigure("loss_large", lambda: self._figure("loss_large", small=False))
        self._ticks: dict[str, list[float]] = {"loss_small": [], "loss_large": []}
        self._last: tuple[object, ...] | None = None

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return self.small, self.large

    def _figure(self, name: str, *, small: bool) -> figure:
        plot = figure(
            name=name,
            x_range=self.epochs,
            y_range=self.range,
            y_axis_type="log",
            tools="",
            toolbar_location=None,
            sizing_mode="stretch_both",
            **{**BARE, "min_border": 4, "min_border_left": 56},
        )
        for phase, colour in PHASE_COLOURS.items():
            plot.add_glyph(self.sources[phase], Line(x="epoch", y="loss", line_color=colour, line_width=2))
            points = Scatter(x="epoch", y="loss", size=4 if small else 6, fill_color=colour, line_color=colour)
            plot.add_glyph(self.sources[phase], points)
        compared = Line(x="epoch", y="loss", line_color=COMPARED_COLOUR, line_width=2, line_dash="dashed")
        plot.add_glyph(self._compared, compared)
        plot.add_glyph(self.stages, VSpan(x="epoch", line_color=COMPARED_COLOUR, line_dash="dotted"))
        plot.grid.grid_line_alpha = 0.15
        plot.axis.minor_tick_line_color = None
        plot.axis.axis_line_color = None
        plot.axis.major_label_text_font_size = "11px"
        plot.yaxis.ticker = FixedTicker(ticks=self._ticks[name])
        plot.yaxis.formatter = BasicTickFormatter()
        plot.xaxis.ticker.min_interval = 1
        plot.xaxis.axis_label = None if small else "epoch"
        plot.axis.axis_label_text_font_style = "normal"
        return plot

    def wear(self, theme: Theme) -> None:
        """Set the colour of axes and labels."""
        for plot in (self.small, self.large):
            plot.wear(theme)

    def show(self, refinement: RefinementState | None) -> None:
        """Draw the losses of a refinement; nothing is sent if they are unchanged."""
        losses = refinement.losses if refinement else []
        phases = refinement.phases if refinement else []
        compared = [float(v) for v in self._compared.data["loss"]]
        stages = refinement.stages if refinement else []
        last = losses[-1] if losses else None
        signature = (refinement and refinement.run, len(losses), last, tuple(stages), *compared[-1:])
        if signature == self._last:
            return
        self._last = signature
        self._fit(losses, compared)
        self.stages.data = {"epoch": [first + 0.5 for first in stages if first > 0]}
        for phase, points in split_by_phase(losses, phases).items():
            self.sources[phase].data = {"epoch": [e for e, _ in points], "loss": [v for _, v in points]}

    def _fit(self, losses: list[float], compared: list[float]) -> None:
        """Fit the ranges to the points, including those of the compared run; use a fixed range while there are none."""
        shown = [v for v in (*losses[-MOST_POINTS:], *compared[-MOST_POINTS:]) if math.isfinite(v) and v > 0]
        low, high = (min(shown), max(shown)) if shown else (0.1, 10.0)
        margin = max((high / low) ** 0.06, 1.001)
        self.range.update(start=low / margin, end=high * margin)
        for plot, most in ((self.small, 3), (self.large, 8)):
            self._ticks[plot.name] = ticks = log_ticks(low / margin, high * margin, most) if shown else []
            if plot.is_made:
                plot.figure.yaxis.ticker.ticks = ticks
        first = max(0, len(losses) - MOST_POINTS)
        self.epochs.update(start=first + 0.5, end=max(len(losses), len(compared), first + 9) + 0.7)


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two positive ones, none closer than a ``most``-th of the axis to the next: steps of 1-2-5
    in a narrow range, 1-2-5 of each decade in a wider one, or decades.

    Bokeh's own logarithmic ticks leave a range within one decade with a single label or none.
    """
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    apart = (high / low) ** (1 / most)
    if high / low > DECADES:
        stride = max(1, -(-(last - math.ceil(math.log10(low)) + 1) // most))
        return [10.0**power for power in range(math.ceil(math.log10(low)), last + 1, stride)]
    if high / low > NARROW:
        ticks: list[float] = []
        for each in (digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)):
            if low <= each <= high and (not ticks or each >= apart * ticks[-1]):
                ticks.append(each)
        return ticks
    rough = high - high / apart  # ticks are densest at the upper end
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(s * decade for s in (1, 2, 5, 10) if s * decade >= rough)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def split_by_phase(losses: list[float], phases: list[str]) -> dict[str, list[tuple[int, float]]]:
    """(epoch, loss) of each phase, epochs counted from 1; the line of a phase starts at the end of the previous one.

    Values that a logarithmic axis cannot show are left out; of very long runs only the last points are kept.
    """
    out: dict[str, list[tuple[int, float]]] = {phase: [] for phase in PHASE_COLOURS}
    before: tuple[str, tuple[int, float]] | None = None
    start = max(0, len(losses) - MOST_POINTS)
    for index in range(start, len(losses)):
        phase = phases[index] if index < len(phases) and phases[index] in out else "lbfgs"
        point = (index + 1, losses[index])
        if not (math.isfinite(point[1]) and point[1] > 0):
            continue
        if before is not None and before[0] != phase:
            out[phase].append(before[1])
        out[phase].append(point)
        before = (phase, point)
    return out
