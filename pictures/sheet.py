"""Pictures side by side with words below them, for a slide or a paper: black on white."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ptylive.pictures.colours import ColourMap, Levels
from ptylive.pictures.snapshot import Rgb, draw, draw_scale_bar
from ptylive.pictures.waves import wave_colours
from ptylive.schema.model import Array, BoolArray

SIDE_PX = 480
"""Longer side of a picture."""
MARGIN_PX, TITLE_PX, LINE_PX = 16, 22, 17
MOST_IN_A_ROW = 4
WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (96, 96, 96)
VEIL, VEIL_COLOUR, VEIL_WORDS = 0.69, (13, 16, 20), (184, 196, 207)
"""Opacity of the veil over a doubtful map, its colour and that of its words, as on the page (``.note``)."""
FULL_LINE = 0.9
"""Fraction of a picture's width that a line of words may occupy."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A picture (rows, cols), waves as colours, and its caption. pixel_A: (row, col), None if unknown."""

    data: Array
    title: str
    lines: Sequence[str] = ()
    colour_map: ColourMap = ColourMap.GRAY
    visited: BoolArray | None = None
    pixel_A: tuple[float, float] | None = None
    limits: Levels | None = None
    """Values of the darkest and brightest shade; None: from the data."""
    doubt: str = ""
    """Reason for greying the picture; empty if it is not greyed."""


def sheet(cells: Sequence[Cell], in_a_row: int = MOST_IN_A_ROW) -> Rgb:
    """RGB (rows, cols, 3) of all cells in reading order, at most ``in_a_row`` per row.

    All are drawn at the same size, with a scale bar if the scale is known. Raises ValueError for no cell.
    """
    if not cells:
        raise ValueError("a sheet needs a picture")
    columns = min(in_a_row, len(cells))
    pictures = [drawn(cell) for cell in cells]
    width = max(picture.shape[1] for picture in pictures) + MARGIN_PX
    words = 2 * TITLE_PX + LINE_PX * max(len(cell.lines) for cell in cells)
    height = max(picture.shape[0] for picture in pictures) + words
    size = (MARGIN_PX + columns * width, MARGIN_PX + math.ceil(len(cells) / columns) * height)
    page = Image.new("RGB", size, WHITE)
    pen, title_font, font = ImageDraw.Draw(page), font_of(TITLE_PX), font_of(LINE_PX)
    for number, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
        left, top = MARGIN_PX + number % columns * width, MARGIN_PX + number // columns * height
        page.paste(Image.fromarray(picture), (left, top))
        below = top + picture.shape[0] + MARGIN_PX // 4
        write_line(pen, (left, below), cell.title, BLACK, title_font)
        for line_number, line in enumerate(cell.lines):
            write_line(pen, (left, below + TITLE_PX + 6 + line_number * LINE_PX), line, GREY, font)
    return np.asarray(page, dtype=np.uint8)


Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def font_of(height_px: int) -> Font:
    """The font of lines of some height."""
    return ImageFont.load_default(height_px * 0.8)


def write_line(
    pen: ImageDraw.ImageDraw, position: tuple[float, float], text: str, colour: tuple[int, ...], font: Font
) -> None:
    """Write a line. Pillow's built-in font has no Å, which is composed of an A and a ring, and no ±."""
    left, top = position
    for number, part in enumerate(text.replace("±", "+/-").split("Å")):
        if number:
            box = pen.textbbox((left, top), "A", font)
            ring, middle = (box[3] - box[1]) / 3, (box[0] + box[2]) / 2
            pen.ellipse((middle - ring / 2, box[1] - ring, middle + ring / 2, box[1]), outline=colour)
            pen.text((left, top), "A", colour, font)
            left += pen.textlength("A", font)
        pen.text((left, top), part, colour, font)
        left += pen.textlength(part, font)


def drawn(cell: Cell, side_px: int = SIDE_PX) -> Rgb:
    """The picture alone, its longer side ``side_px``: pixels of small ones stay squares, large ones are averaged."""
    if np.iscomplexobj(cell.data):
        plain = Image.fromarray(wave_colours(cell.data, None if cell.limits is None else cell.limits[1]))
    else:
        plain = Image.fromarray(
            draw(cell.data, cell.colour_map, visited=cell.visited, limits=cell.limits, least_side=1)
        )
    rows, cols = cell.data.shape
    tall, wide = (rows, cols) if cell.pixel_A is None else (rows * cell.pixel_A[0], cols * cell.pixel_A[1])
    zoom = side_px / max(tall, wide)
    size = (max(1, round(wide * zoom)), max(1, round(tall * zoom)))
    larger = size[0] >= cols and size[1] >= rows
    picture = np.array(plain.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.BOX))
    if cell.pixel_A is not None:
        draw_scale_bar(picture, cell.pixel_A[1] * cols / size[0])
    return greyed(picture, cell.doubt) if cell.doubt else picture


def greyed(picture: Rgb, words: str) -> Rgb:
    """RGB (rows, cols, 3) under a dark veil, with words in its middle, as the page shows a doubtful map."""
    veiled = picture * (1 - VEIL) + VEIL * np.asarray(VEIL_COLOUR)
    page = Image.fromarray(np.rint(veiled).astype(np.uint8))
    pen, (width, height) = ImageDraw.Draw(page), page.size
    font = font_of(LINE_PX * max(1, round(min(width, height) / SIDE_PX)))
    lines = textwrap.wrap(words, max(1, int(width * FULL_LINE / pen.textlength("n", font))))
    tall = pen.textbbox((0, 0), "Ag", font)[3]
    for number, line in enumerate(lines):
        left = (width - pen.textlength(line, font)) / 2
        write_line(pen, (left, (height - tall * len(lines)) / 2 + tall * number), line, VEIL_WORDS, font)
    return np.asarray(page, dtype=np.uint8)
