"""What a report is made of: pictures with words below them, and details."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.pictures.sheet import Cell, drawn
from ptylive.pictures.snapshot import png

SIDE_PX = 512
"""Longer side of a picture: the words of its scale bar can be read when three stand beside each other."""
Detail = tuple[str, str]
"""A name and what it says."""


@dataclass(frozen=True)
class Picture:
    """A PNG and the words below it."""

    title: str
    lines: tuple[str, ...]
    png: bytes

    @classmethod
    def of(cls, cell: Cell) -> Picture:
        """Of a cell as a sheet shows it."""
        return cls(cell.title, tuple(cell.lines), png(drawn(cell, SIDE_PX)))
