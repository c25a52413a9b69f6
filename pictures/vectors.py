"""Arrows over a disc: image shifts of the parts of the bright field, as measured and as explained."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from ptylive.pictures.sheet import BLACK, GREY, LINE_PX, MARGIN_PX, SIDE_PX, TITLE_PX, WHITE, font_of, write_line
from ptylive.pictures.snapshot import Rgb
from ptylive.schema.model import DoubleArray

MEASURED, EXPLAINED = (31, 90, 160), (190, 60, 20)
LONGEST = 0.9
"""Length of the longest arrow relative to the distance between neighbours."""
HEAD_PX, HEAD_RAD = 7.0, 0.45

Pen = ImageDraw.ImageDraw
Colour = tuple[int, int, int]


def vectors(places: DoubleArray, measured: DoubleArray, explained: DoubleArray, radius: float, unit: str) -> Rgb:
    """RGB (rows, cols, 3) of arrows (n, 2) (row, col) at places (n, 2) within a disc of given radius centred on 0.

    Rows point downwards. The length of the longest arrow is given below, in ``unit``.
    """
    page = Image.new("RGB", (SIDE_PX + 2 * MARGIN_PX, SIDE_PX + 2 * MARGIN_PX + TITLE_PX + 2 * LINE_PX), WHITE)
    pen, middle, half = ImageDraw.Draw(page), MARGIN_PX + SIDE_PX / 2, SIDE_PX / 2 / 1.1
    pen.ellipse((middle - half, middle - half, middle + half, middle + half), outline=GREY)
    longest = max(float(np.hypot(*explained.T).max()), float(np.quantile(np.hypot(*measured.T), 0.95)), 1e-12)
    spacing = 2 * half / max(math.sqrt(4 / math.pi * len(places)), 1)
    for arrows, colour, width in ((explained, EXPLAINED, 4), (measured, MEASURED, 1)):
        for place, arrow in zip(places, arrows, strict=True):
            row, col = middle + half * np.asarray(place) / radius
            along = np.asarray(arrow) / longest * LONGEST * spacing
            _arrow(pen, (float(col), float(row)), (float(col + along[1]), float(row + along[0])), colour, width)
    below = SIDE_PX + MARGIN_PX + 4
    write_line(pen, (MARGIN_PX, below), "shifts of bright-field images", BLACK, font_of(TITLE_PX))
    for line, (text, colour) in enumerate(
        ((f"measured (longest {longest:.3g} {unit})", MEASURED), ("explained", EXPLAINED))
    ):
        write_line(pen, (MARGIN_PX, below + TITLE_PX + line * LINE_PX), text, colour, font_of(LINE_PX))
    return np.asarray(page, dtype=np.uint8)


def _arrow(pen: Pen, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: int) -> None:
    pen.line([start, end], fill=colour, width=width)
    shaft = (end[0] - start[0], end[1] - start[1])
    length = math.hypot(*shaft)
    angle, size = math.atan2(shaft[1], shaft[0]), min(HEAD_PX, 0.5 * length)
    for side in (-HEAD_RAD, HEAD_RAD):
        tip = (end[0] - size * math.cos(angle + side), end[1] - size * math.sin(angle + side))
        pen.line([end, tip], fill=colour, width=width)
