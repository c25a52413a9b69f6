"""A figure that shows one picture at a time, and sends the next only when the browser has shown the last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from bokeh.models import (
    Circle,
    ColumnDataSource,
    CustomJS,
    Image,
    LinearColorMapper,
    MultiPolygons,
    Range1d,
    ScaleBar,
    Text,
)
from bokeh.plotting import figure

from ptylive.dashboard.models import Extent, Shown
from ptylive.dashboard.panels.live.bokeh_defaults import unchecked
from ptylive.dashboard.panels.live.later import LaterFigure
from ptylive.dashboard.pictures import Corner, LabelledCircle, Picture
from ptylive.pictures.colours import ColourMap, Indexed, Levels, moved, palette, wheel_palette
from ptylive.pictures.scalebar import ScaleBarLength, nice_length

SCALE_BAR_INK = "#ffffff"
BARE: Mapping[str, Any] = MappingProxyType(
    {
        "title": None,
        "min_border": 0,
        "outline_line_color": None,
        "background_fill_color": None,
        "border_fill_color": None,
    }
)
"""Style without any decoration around the picture."""

DIMMED: Mapping[str, Any] = MappingProxyType(
    {"fill_color": "#000000", "fill_alpha": 0.55, "line_color": SCALE_BAR_INK, "line_alpha": 0.4}
)
"""Appearance of a picture outside the scanned field."""
PATCH_SHARE = 0.6
"""If the changed rows span less than this fraction of a picture, only they are sent."""
NOT_FITTED = (0.0, 1.0)
"""Visible range of a figure before a browser has fitted it to its panel."""
Place = tuple[float, float, float, float]
"""Left, top, width, height in the coordinates of the figure."""


@dataclass(frozen=True)
class Meaning:
    """Meaning of shades and coordinates: contrast limits, unit of the values, unit of the coordinates."""

    limits: Levels
    units: str = ""
    where: str = ""

    @classmethod
    def of(cls, picture: Picture, limits: Levels) -> Meaning:
        """Meaning of a picture at given contrast limits."""
        unit = "Å" if picture.calibrated else "px"
        return cls(limits, picture.units, f"1/{unit}" if picture.frequencies else unit)


class Window:
    """Ranges and extent of one figure, or shared by several, so that zooming one zooms all."""

    def __init__(self) -> None:
        self.entire = False
        """Whether all of a picture is framed rather than only its relevant part."""

    @cached_property
    def x_range(self) -> Range1d:
        """Visible range, from left to right."""
        return Range1d(*NOT_FITTED)

    @cached_property
    def y_range(self) -> Range1d:
        """Visible range, from bottom to top."""
        return Range1d(1, 0)

    @cached_property
    def extent(self) -> Extent:
        """Visible area when nobody has zoomed."""
        extent = Extent()
        # not attached to any figure: with its figures, each of them would refer to all others, and Bokeh would walk
        # through all of them for each one
        extent.js_on_change("box", CustomJS(code="window.ptylive?.refit(cb_obj)"))
        return extent

    @property
    def width(self) -> float:
        """Width of the visible area; until a browser has fitted it to its panel, that of the extent."""
        seen = float(self.x_range.start), float(self.x_range.end)
        return self.extent.box[2] if seen == NOT_FITTED else abs(seen[1] - seen[0])

    def frame(self, picture: Picture) -> None:
        """Make the relevant part of the picture the extent; the browser fits the ranges to the shape of the panel."""
        height, width = picture.size if self.entire else picture.focus or picture.size
        top, left = (
            origin - 0.5 * pixel + 0.5 * (whole - part)
            for origin, pixel, whole, part in zip(
                picture.origin, picture.pixel, picture.size, (height, width), strict=True
            )
        )
        box = [left, top, width, height]
        if not np.allclose(box, self.extent.box, rtol=1e-3, atol=1e-12):
            self.extent.box = box


class PictureFigure:
    """One figure with an indexed image, a colour palette, a scale bar and the browser's acknowledgement.

    Pixel (0, 0) of a picture is at the upper left; ``windows`` are the coordinate systems it can be viewed in.
    """

    def __init__(
        self,
        name: str,
        window: Window | None = None,
        colour_map: ColourMap = ColourMap.GRAY,
        *,
        scale_bar: bool = True,
        rings: bool = False,
        dims: bool = False,
        others: Sequence[Window] = (),
    ) -> None:
        self.window = window or Window()
        self.windows = [self.window, *others]
        self.colour_map, self.gamma = colour_map, 1.0
        self.shown = Shown()
        self.locked: Levels | None = None
        self.limits: Levels = (0.0, 1.0)
        self.calibrated = False
        self.showing = ""
        self.plot = LaterFigure(name, self._figure)
        self._dims, self._scaled = dims, scale_bar
        self._ringed = rings or len(self.windows) > 1
        self._wheel = False
        self._number = 0
        self._sent: tuple[int, Levels] | None = None
        self._blank = [0.0, 0.0, 1.0, 1.0]

    @cached_property
    def mapper(self) -> LinearColorMapper:
        """Maps shades to colours."""
        with unchecked():
            return LinearColorMapper(palette=palette(self.colour_map, self.gamma), low=-0.5, high=255.5)

    @cached_property
    def source(self) -> ColumnDataSource:
        """The picture in the browser."""
        blank = np.zeros((1, 1), np.uint8)
        return ColumnDataSource(data=_columns(blank, (0.0, 0.0, 1.0, 1.0), Meaning((0.0, 1.0)), 0))

    @cached_property
    def rings(self) -> ColumnDataSource:
        """Resolution rings."""
        return ColumnDataSource(data={"radius": [], "x": [], "y": [], "text": []})

    @cached_property
    def outside(self) -> ColumnDataSource | None:
        """The area outside the scanned field, which is dimmed."""
        return ColumnDataSource(data={"xs": [], "ys": []}) if self._dims else None

    @cached_property
    def scale_bar(self) -> ScaleBar | None:
        """The scale bar."""
        return _scale_bar() if self._scaled else None

    def _figure(self) -> figure:
        plot = figure(
            name=self.plot.name,
            x_range=self.window.x_range,
            y_range=self.window.y_range,
            x_axis_type=None,
            y_axis_type=None,
            tools="pan,wheel_zoom",
            active_scroll="wheel_zoom",
            toolbar_location=None,
            sizing_mode="stretch_both",
            **BARE,
        )
        plot.add_glyph(self.source, Image(image="image", x="x", y="y", dw="dw", dh="dh", color_mapper=self.mapper))
        if self.outside:
            plot.add_glyph(self.outside, MultiPolygons(xs="xs", ys="ys", **DIMMED))
        if self._ringed:
            self._draw_rings(plot)
        windows = [[window.x_range, window.y_range, window.extent] for window in self.windows]
        fit = CustomJS(args={"figure": plot, "windows": windows}, code="window.ptylive?.fit(figure, windows)")
        plot.js_on_change("inner_width", fit)
        plot.js_on_change("inner_height", fit)
        plot.js_on_event("doubletap", fit)
        plot.js_on_change("x_range", fit)
        arguments = {"source": self.source, "shown": self.shown}
        answer = CustomJS(args=arguments, code="window.ptylive?.acknowledge(source, shown)")
        self.source.js_on_change("data", answer)
        self.source.js_on_change("patching", answer)
        if self.scale_bar:
            plot.add_layout(self.scale_bar)
        return plot

    def _draw_rings(self, plot: figure) -> None:
        """Draw the resolution rings of a Fourier transform, each with its label on the circle."""
        line = {"line_color": SCALE_BAR_INK, "line_alpha": 0.55, "line_width": 1, "line_dash": [4, 4]}
        plot.add_glyph(self.rings, Circle(x=0, y=0, radius="radius", fill_color=None, **line))
        words = Text(x="x", y="y", text="text", text_color=SCALE_BAR_INK, text_font_size="12px", x_offset=3)
        plot.add_glyph(self.rings, words)

    def _switch_window(self, window: Window) -> None:
        """Switch to another coordinate system, together with the picture that belongs to it."""
        if window is not self.window:
            self.window = window
            self.plot.figure.update(x_range=window.x_range, y_range=window.y_range)

    def wear(self, colour_map: ColourMap) -> None:
        """Change the colour map by changing the palette of the same mapper."""
        if colour_map is not self.colour_map:
            self.colour_map = colour_map
            if not self._wheel:
                self.mapper.palette = palette(colour_map, self.gamma)

    def set_gamma(self, gamma: float) -> None:
        """Change gamma; values below 1 brighten dark shades."""
        if gamma != self.gamma:
            self.gamma = gamma
            if not self._wheel:
                self.mapper.palette = palette(self.colour_map, gamma)

    def _take_wheel(self, wheel: bool) -> None:
        """Use the colours of a vector map, or of the chosen colour map."""
        if wheel is not self._wheel:
            self._wheel = wheel
            colours = wheel_palette() if wheel else palette(self.colour_map, self.gamma)
            self.mapper.update(palette=colours, high=len(colours) - 0.5)

    def _mark(self, rings: Sequence[LabelledCircle]) -> None:
        data = {
            "radius": [ring.radius for ring in rings],
            "x": [ring.radius * math.cos(math.radians(ring.degrees)) for ring in rings],
            "y": [-ring.radius * math.sin(math.radians(ring.degrees)) for ring in rings],
            "text": [ring.text for ring in rings],
        }
        if data != dict(self.rings.data):
            self.rings.data = data

    def _dim(self, picture: Picture) -> None:
        if self.outside is None:
            return
        top, left = (origin - 0.5 * pixel for origin, pixel in zip(picture.origin, picture.pixel, strict=True))
        bottom, right = top + picture.size[0], left + picture.size[1]
        edge: list[Corner] = [(top, left), (top, right), (bottom, right), (bottom, left)]
        around = [edge, list(picture.scanned)] if picture.scanned else []
        rows, cols = ([[corner[axis] for corner in path] for path in around] for axis in (0, 1))
        data = {"xs": [[cols]], "ys": [[rows]]} if around else {"xs": [], "ys": []}
        if data != dict(self.outside.data):
            self.outside.data = data

    def offer(self, picture: Picture) -> bool:
        """Send the picture unless it was sent already or the browser has yet to show the last one; True when sent."""
        limits = self.locked or self._held_limits(picture.limits)
        if self._sent == (picture.version, limits) or self.shown.number != self._number:
            return False
        self._number += 1
        self._sent = (picture.version, limits)
        self.limits = limits
        self.showing = picture.name
        self.calibrated = picture.calibrated
        self._switch_window(self.windows[1 if picture.frequencies and len(self.windows) > 1 else 0])
        self.window.frame(picture)
        self._dim(picture)
        self._take_wheel(picture.wheel)
        self._mark(picture.rings)
        top, left = (origin - 0.5 * p for origin, p in zip(picture.origin, picture.pixel, strict=True))
        place = (left, top, picture.size[1], picture.size[0])
        self._send(picture.indices(limits), place, Meaning.of(picture, limits))
        return True

    def _send(self, indices: Indexed, place: Place, meaning: Meaning) -> None:
        """Send a picture, or only the changed rows if place and contrast are the same."""
        rows = self._rows_to_send(indices, place, meaning)
        if rows is None:
            # a copy, because patches change the source's data, and pictures are shared with other viewers
            self.source.data = _columns(indices.copy(), place, meaning, self._number)
            return
        band = np.ascontiguousarray(indices[rows]).ravel()
        self.source.patch({"image": [((0, rows, slice(None)), band)], "number": [(0, self._number)]})

    def _rows_to_send(self, indices: Indexed, place: Place, meaning: Meaning) -> slice | None:
        """Range from the first to the last changed row; None if a whole picture costs as little."""
        data = self.source.data
        present = data["image"][0]
        if present.shape != indices.shape or present.dtype != indices.dtype:
            return None
        columns = _columns(present, place, meaning, self._number)
        if any(columns[name] != data[name] for name in columns.keys() - {"image", "number"}):
            return None
        changed = np.flatnonzero((present != indices).any(axis=1))
        first, last = (int(changed[0]), int(changed[-1])) if len(changed) else (0, 0)
        return slice(first, last + 1) if last + 1 - first < PATCH_SHARE * len(indices) else None

    def _held_limits(self, limits: Levels) -> Levels:
        """Automatic limits, held while they change by less than a percent."""
        return limits if self._sent is None or moved(limits, self.limits) else self.limits

    def clear(self) -> bool:
        """Fill the whole extent with the colour of unvisited pixels; True when that was sent."""
        extent = self.window.extent.box
        if (self._sent is None and self._blank == extent) or self.shown.number != self._number:
            return False
        self._number += 1
        self._sent, self._blank, self.showing = None, list(extent), ""
        left, top, width, height = extent
        blank = np.zeros((1, 1), np.uint8)
        self._mark(())
        if self.outside:
            self.outside.data = {"xs": [], "ys": []}
        self.source.data = _columns(blank, (left, top, width, height), Meaning(self.limits), self._number)
        return True

    def place(self) -> None:
        """Record that the browser gets this figure only now, with its picture, which it need not acknowledge."""
        self.shown.number = self._number

    def forget(self) -> None:
        """Send the next picture even if it is the displayed one (the panel now shows something else)."""
        self._sent = self._sent and (-1, self._sent[1])

    def measure(self) -> None:
        """Choose the scale bar for the visible area; none before the first picture."""
        if self.scale_bar is None:
            return
        in_space = self.window is self.windows[0]
        bar = nice_length(self.window.width, calibrated=self.calibrated) if self._sent and in_space else None
        bar = bar or ScaleBarLength(0.0, "")
        if self.scale_bar.label != bar.text or self.scale_bar.bar_length != bar.length:
            self.scale_bar.update(bar_length=bar.length, label=bar.text, visible=bool(bar.text))


def _columns(indices: Indexed, place: Place, meaning: Meaning, number: int) -> dict[str, list[object]]:
    """The source's columns: the image with its place, the meaning of its shades, and its number."""
    left, top, width, height = place
    return {
        "image": [indices],
        "x": [left],
        "y": [top],
        "dw": [width],
        "dh": [height],
        "low": [meaning.limits[0]],
        "high": [meaning.limits[1]],
        "units": [meaning.units],
        "where": [meaning.where],
        "number": [number],
    }


def _scale_bar() -> ScaleBar:
    return ScaleBar(
        length_sizing="exact",
        bar_length_units="data",
        bar_length=0.0,
        label="",
        visible=False,
        location="bottom_left",
        margin=8,
        padding=6,
        label_location="above",
        label_standoff=4,
        label_text_color=SCALE_BAR_INK,
        label_text_font_size="13px",
        bar_line_color=SCALE_BAR_INK,
        bar_line_width=4,
        background_fill_color="#000000",
        background_fill_alpha=0.5,
        border_line_color=None,
    )
