"""The loss of trials against one of the varied values, and the curve through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from bokeh.models import Band, BasicTicker, ColumnDataSource, Line, Range1d, Scatter
from bokeh.plotting import figure

from ptylive.dashboard.panels.live.later import AxesFigure
from ptylive.dashboard.panels.picture import BARE
from ptylive.dashboard.theme import PHASE_COLOURS, Theme

MARGIN = 0.06
PERCENT = 100.0
SHOWN_QUANTILE = 0.9
"""Fraction of the completed trials that is shown; distant ones would compress the others."""


class LandscapeFigure:
    """Points and a curve with two standard deviations on either side; losses in percent above the best trial's."""

    def __init__(self) -> None:
        self.plot = AxesFigure("landscape", self._figure)
        self._label = ""

    @cached_property
    def trials(self) -> ColumnDataSource:
        """Points."""
        return ColumnDataSource(data={"at": [], "loss": []})

    @cached_property
    def curve(self) -> ColumnDataSource:
        """The curve."""
        return ColumnDataSource(data={"at": [], "loss": [], "low": [], "high": []})

    @cached_property
    def _x(self) -> Range1d:
        return Range1d(0.0, 1.0)

    @cached_property
    def _y(self) -> Range1d:
        return Range1d(0.0, 1.0)

    def _figure(self) -> figure:
        sweeps, lbfgs = list(PHASE_COLOURS.values())[:2]
        plot = figure(
            name="landscape",
            x_range=self._x,
            y_range=self._y,
            tools="",
            toolbar_location=None,
            sizing_mode="stretch_both",
            **{**BARE, "min_border": 6, "min_border_left": 60, "min_border_bottom": 44},
        )
        band = Band(base="at", lower="low", upper="high", source=self.curve, fill_color=lbfgs, fill_alpha=0.2)
        band.line_alpha = 0.0
        plot.add_layout(band)
        plot.add_glyph(self.curve, Line(x="at", y="loss", line_color=lbfgs, line_width=2))
        plot.add_glyph(self.trials, Scatter(x="at", y="loss", size=7, fill_color=sweeps, line_color=sweeps))
        plot.grid.grid_line_alpha = 0.15
        plot.axis.minor_tick_line_color = None
        plot.axis.axis_line_color = None
        plot.axis.major_label_text_font_size = "11px"
        plot.axis.axis_label_text_font_style = "normal"
        plot.axis.ticker = BasicTicker(desired_num_ticks=6)
        plot.yaxis.axis_label = "loss above the best trial / %"
        plot.xaxis.axis_label = self._label
        return plot

    def wear(self, theme: Theme) -> None:
        """Set the colour of axes and labels."""
        self.plot.wear(theme)

    def show(self, label: str, values: Sequence[float], losses: Sequence[float], curve: Mapping[str, Any]) -> None:
        """Draw trials (``at`` a value, each with its loss), and a curve as the server reports it, if any."""
        best = min(losses, default=1.0)
        above = [PERCENT * (loss / best - 1) for loss in losses] if best > 0 else [loss - best for loss in losses]
        self.trials.data = {"at": list(values), "loss": above}
        line = np.array(curve.get("share", ()), dtype=float) * PERCENT
        width = 2 * PERCENT * np.array(curve.get("deviation", ()), dtype=float)
        curve_values = [float(value) for value in curve.get("at", ())]
        self.curve.data = {
            "at": curve_values,
            "loss": line.tolist(),
            "low": np.maximum(line - width, 0.0).tolist(),
            "high": (line + width).tolist(),
        }
        self._label = label
        if self.plot.is_made:
            self.plot.figure.xaxis.axis_label = label
        self._fit([*values, *curve_values], above, line.tolist())

    def _fit(self, values: Sequence[float], above: Sequence[float], line: Sequence[float]) -> None:
        if not values:
            return
        margin = MARGIN * max(max(values) - min(values), 1e-9)
        self._x.update(start=min(values) - margin, end=max(values) + margin)
        high = max([float(np.quantile(above, SHOWN_QUANTILE)) if above else 0.0, min([*line, 0.0]), 1e-6])
        self._y.update(start=-MARGIN * high, end=(1 + 2 * MARGIN) * high)
