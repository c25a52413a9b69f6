"""Protocols of the parts of a page."""

from __future__ import annotations

from typing import Any, Protocol

from ptylive.dashboard.panels.picture import PictureFigure
from ptylive.dashboard.pictures import Picture


class Part(Protocol):
    """A part of the page: models that the page's HTML places by their names."""

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        ...


class PicturePanel(Part, Protocol):
    """A part that shows pictures of the feed."""

    @property
    def figures(self) -> tuple[tuple[PictureFigure, str], ...]:
        """Its figures, each with the name of the picture it shows."""
        ...

    def texts(self, name: str, picture: Picture | None) -> dict[str, str]:
        """The captions of a picture, or of its absence."""
        ...


def gathered(kind: str, *parts: object) -> dict[str, Any]:
    """Merge the outputs of several parts: ``kind`` is ``texts``, ``marks``, ``lists``, ``takers``."""
    return {name: value for part in parts for name, value in getattr(part, kind)().items()}
