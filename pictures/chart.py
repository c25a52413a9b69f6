"""Charts of measured points: a curve with its band, or a surface seen from above; black on white, for pages and papers.

Places run from 0 to 1 along both axes, from left to right and from bottom to top; the ticks give their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ptylive.pictures.colours import ColourMap, palette, to_indices
from ptylive.pictures.sheet import BLACK, GREY, WHITE, font_of, write_line
from ptylive.pictures.snapshot import Rgb
from ptylive.schema.model import DoubleArray

WIDTH, HEIGHT = 560, 400
LEFT, RIGHT, TOP, BOTTOM = 78, 18, 30, 56
FONT_PX, TICK_PX, DOT_PX = 17, 5, 4
COLOURS = ((31, 90, 160), (190, 60, 20), (30, 130, 60), (120, 60, 150), (200, 140, 0), (90, 90, 90))
FEW_POINTS, MOST_DECADES, LEGEND_PX = 40, 6, 190
BAND, LINE, MARK = (205, 222, 240), (31, 90, 160), (190, 60, 20)

Pen = ImageDraw.ImageDraw


@dataclass(frozen=True)
class Axis:
    """Labels of an axis. ``ticks``: place and label of each."""

    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, eq=False)
class Points:
    """(n, 2) places (across, up) of measurements, and of those that were abandoned (drawn hollow)."""

    full: DoubleArray
    hollow: DoubleArray


@dataclass(frozen=True, eq=False)
class Curve:
    """(k,) places across, the line's places up, and the ends of its band."""

    across: DoubleArray
    line: DoubleArray
    low: DoubleArray
    high: DoubleArray


def curve(across: Axis, up: Axis, drawn: Curve, points: Points, mark: float | None = None) -> Rgb:
    """RGB (rows, cols, 3) of a curve among its points; ``mark``: a place across to draw a line at."""
    page, pen = _page()
    band = [*zip(drawn.across, drawn.high, strict=True), *zip(drawn.across[::-1], drawn.low[::-1], strict=True)]
    pen.polygon([_to_pixels(x, y) for x, y in band], fill=BAND)
    if mark is not None:
        pen.line([_to_pixels(mark, 0), _to_pixels(mark, 1)], fill=MARK, width=1)
    pen.line([_to_pixels(x, y) for x, y in zip(drawn.across, drawn.line, strict=True)], fill=LINE, width=2)
    _dots(pen, points, BLACK, WHITE)
    _axes(pen, across, up)
    return np.asarray(page, dtype=np.uint8)


@dataclass(frozen=True, eq=False)
class Series:
    """A line: (k,) values across and up, in the units of the axes; non-finite values leave a gap."""

    name: str
    across: DoubleArray
    up: DoubleArray


def lines(across: str, up: str, series: Sequence[Series], *, log: bool = False) -> Rgb:
    """RGB (rows, cols, 3) of lines in different colours, each with its name; ``log``: logarithmic vertical axis.

    Raises ValueError if no line has a point to draw.
    """
    shown = [(line, _finite(line, log=log)) for line in series]
    points = [point for _, found in shown for point in (found,) if len(found)]
    if not points:
        raise ValueError("there is nothing to draw")
    every = np.concatenate(points)
    (left, low), (right, high) = every.min(axis=0), every.max(axis=0)
    right, high = (right if right > left else left + 1), (high if high > low else low + (abs(low) or 1.0))
    span = np.array([right - left, high - low])
    page, pen = _page()
    for number, (line, found) in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        places = [_to_pixels(*place) for place in (found - (left, low)) / span]
        if len(places) > 1:
            pen.line(places, fill=colour, width=2)
        for x, y in places if len(places) <= FEW_POINTS else []:
            pen.ellipse((x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX), fill=colour)
        if len(series) > 1:
            write_line(pen, (WIDTH - LEGEND_PX, TOP + 6 + number * FONT_PX), line.name, colour, font_of(FONT_PX))
    ticks = tuple(((value - left) / (right - left), f"{value:g}") for value in nice_ticks(left, right))
    _axes(pen, Axis(across, ticks), Axis(up, _upward(low, high, log=log)))
    return np.asarray(page, dtype=np.uint8)


def _finite(line: Series, *, log: bool) -> DoubleArray:
    """(points, 2) drawable points of a line."""
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.log10(line.up) if log else np.asarray(line.up, dtype=float)
    both = np.stack([np.asarray(line.across, dtype=float), up], axis=1)
    return np.asarray(both[np.isfinite(both).all(axis=1)])


def _upward(low: float, high: float, *, log: bool) -> tuple[tuple[float, str], ...]:
    decades = [float(n) for n in range(int(np.ceil(low)), int(np.floor(high)) + 1)] if log else []
    values = decades[:: max(1, len(decades) // MOST_DECADES)] if len(decades) > 1 else nice_ticks(low, high)
    return tuple(((value - low) / (high - low), f"{10**value:.3g}" if log else f"{value:.7g}") for value in values)


def surface(across: Axis, up: Axis, heights: DoubleArray, points: Points, best: tuple[float, float]) -> Rgb:
    """RGB of heights (rows, cols), the first row at the bottom, low ones bright; ``best``: position of a cross."""
    page, pen = _page()
    size = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM)
    limits = float(heights.min()), float(max(heights.max(), heights.min() + 1e-12))
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in palette(ColourMap.VIRIDIS)], dtype=np.uint8)
    indices = to_indices((limits[0] + limits[1] - heights[::-1]).astype(np.float32), limits)
    page.paste(Image.fromarray(colours[indices]).resize(size, Image.Resampling.BILINEAR), (LEFT, TOP))
    _dots(pen, points, WHITE, None)
    x, y = _to_pixels(*best)
    for dx, dy in ((9, 0), (0, 9)):
        pen.line([(x - dx, y - dy), (x + dx, y + dy)], fill=MARK, width=3)
    _axes(pen, across, up)
    return np.asarray(page, dtype=np.uint8)


def nice_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """At most ``most`` round numbers from ``low`` to ``high``. Raises ValueError for an empty range."""
    if not high > low:
        raise ValueError("no range")
    rough = (high - low) / most
    size = 10.0 ** np.floor(np.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (size * factor) < most)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    return tuple(float(round(n * step, 12)) + 0.0 for n in np.arange(first, last + 1))


def _page() -> tuple[Image.Image, Pen]:
    page = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    return page, ImageDraw.Draw(page)


def _to_pixels(across: float, up: float) -> tuple[float, float]:
    """Pixels of a place; places outside are drawn at the border."""
    x, y = np.clip((across, up), 0, 1)
    return LEFT + float(x) * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - float(y) * (HEIGHT - TOP - BOTTOM)


def _dots(pen: Pen, points: Points, colour: tuple[int, int, int], inside: tuple[int, int, int] | None) -> None:
    for places, fill in ((points.hollow, inside), (points.full, colour)):
        for place in places:
            x, y = _to_pixels(*place)
            box = (x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX)
            pen.ellipse(box, fill=fill, outline=colour if fill == inside else GREY)


def _axes(pen: Pen, across: Axis, up: Axis) -> None:
    font = font_of(FONT_PX)
    pen.rectangle([*_to_pixels(0, 1), *_to_pixels(1, 0)], outline=BLACK)
    for place, label in across.ticks:
        x, y = _to_pixels(place, 0)
        pen.line([(x, y), (x, y + TICK_PX)], fill=BLACK)
        write_line(pen, (x - pen.textlength(label, font) / 2, y + TICK_PX + 2), label, BLACK, font)
    for place, label in up.ticks:
        x, y = _to_pixels(0, place)
        pen.line([(x - TICK_PX, y), (x, y)], fill=BLACK)
        write_line(pen, (x - TICK_PX - 3 - pen.textlength(label, font), y - FONT_PX / 2), label, BLACK, font)
    middle = LEFT + (WIDTH - LEFT - RIGHT - pen.textlength(across.title, font)) / 2
    write_line(pen, (middle, HEIGHT - FONT_PX - 6), across.title, BLACK, font)
    write_line(pen, (8, 6), up.title, BLACK, font)
