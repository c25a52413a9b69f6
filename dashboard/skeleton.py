"""The page's skeleton: HTML, style and script, kept as files in `templates/`; and what is put into it, and when."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.models import Model
from jinja2 import Environment, FileSystemLoader, Template

from ptylive.dashboard.keys import KEYS, SHOWN, WORDS
from ptylive.dashboard.panels.calibration import EDITABLE, ESTIMABLE
from ptylive.dashboard.panels.live.later import LaterFigure
from ptylive.dashboard.panels.reconstruction import OBJECT_SHOWS
from ptylive.dashboard.panels.refine import FURTHER_HELP, SETTINGS
from ptylive.dashboard.panels.series.form import VARIED
from ptylive.dashboard.readouts import CALIBRATION_ROWS

TITLE = "ptylive"
FOLDER = Path(__file__).parent / "templates"
OF_A_MAP = ("", "_choice", "_colours", "_lock", "_fft")
SIX_MAPS = frozenset(f"map_{index}{part}" for index in (4, 5) for part in OF_A_MAP)
"""What belongs to the two panels that only a layout of six has."""
LATER = (
    SIX_MAPS
    | frozenset(
        ("profile", "trotter_fft", "trotter_amplitude", "trotter_before", "trotter_after", "object", "probe", "compare")
    )
    | {"loss_large", "curve_line", "curve_depth", "curve_rings", "landscape"}
)
"""Figures that nobody sees when a page opens. A page comes up in half the time without them."""


@cache
def read_template(name: str) -> str:
    """Text of a file in `templates/`."""
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def page_template() -> Template:
    """The page that Bokeh fills with its models; extends Bokeh's own page (variable ``base``)."""
    return Environment(loader=FileSystemLoader(FOLDER), autoescape=True).get_template("session.html")


def page_variables() -> dict[str, Any]:
    """What the template is filled with, beside Bokeh's roots."""
    return {
        "settings": SETTINGS,
        "object_shows": OBJECT_SHOWS,
        "further_help": FURTHER_HELP,
        "varied": VARIED,
        "keys": KEYS,
        "shown": SHOWN,
        "words": WORDS,
        "editable": EDITABLE,
        "estimable": ESTIMABLE,
        "calibration_rows": CALIBRATION_ROWS,
    }


def place_of(name: str) -> tuple[bool, str]:
    """Sorts roots by their names into the order of their places: BokehJS gives places to roots by their order."""
    return name in LATER, name


class PageRoots:
    """The roots of one page: most come with it, figures of LATER are made when somebody wants to see one of them."""

    def __init__(self, document: Document, roots: Iterable[Model | LaterFigure]) -> None:
        self._document = document
        ordered = sorted(roots, key=lambda root: place_of(str(root.name)))
        self._later = [root for root in ordered if root.name in LATER]
        self.loaded = False
        """Whether the browser has said that the page is there: what is added while it is made gets no place."""
        self._add(root for root in ordered if root.name not in LATER)

    @property
    def missing(self) -> bool:
        """Whether there are figures that can be added now."""
        return self.loaded and bool(self._later)

    def complete(self) -> None:
        """Add them."""
        later, self._later = self._later, []
        self._add(later)

    def _add(self, roots: Iterable[Model | LaterFigure]) -> None:
        with self._document.models.freeze():  # else Bokeh walks through all models once for every root
            for root in roots:
                self._document.add_root(root.figure if isinstance(root, LaterFigure) else root)
