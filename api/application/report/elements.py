"""Elements of a report: pictures with captions, and details."""

from __future__ import annotations

from dataclasses import dataclass

from ptylive.pictures.sheet import Cell, drawn
from ptylive.pictures.snapshot import png

SIDE_PX = 512
"""Longer side of a picture: the text of its scale bar is readable when three pictures are side by side."""
Detail = tuple[str, str]
"""A name and its value as text."""


@dataclass(frozen=True)
class Picture:
    """A PNG and its caption."""

    title: str
    lines: tuple[str, ...]
    png: bytes

    @classmethod
    def of(cls, cell: Cell) -> Picture:
        """Create from a cell of a sheet."""
        return cls(cell.title, tuple(cell.lines), png(drawn(cell, SIDE_PX)))
