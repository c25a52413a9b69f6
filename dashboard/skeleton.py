"""The page's skeleton: HTML, style and script from `templates/`, what fills them, and when.

`templates/page.html` includes everything: HTML from `parts/`, style from `styles/`, and the scripts beside it. The
browser receives one document.
"""

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
"""Elements of the two panels that exist only in the layout of six."""
LATER = (
    SIX_MAPS
    | frozenset(
        ("profile", "trotter_fft", "trotter_amplitude", "trotter_before", "trotter_after", "object", "probe", "compare")
    )
    | {"loss_large", "curve_line", "curve_depth", "curve_rings", "landscape"}
)
"""Figures that are hidden when a page opens. Without them, a page opens in half the time."""


@cache
def read_template(name: str) -> str:
    """Return the text of a file in `templates/`."""
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def page_template() -> Template:
    """The page that Bokeh fills with its models; extends Bokeh's own page (variable ``base``)."""
    return Environment(loader=FileSystemLoader(FOLDER), autoescape=True).get_template("page.html")


def page_variables() -> dict[str, Any]:
    """Variables of the template in addition to Bokeh's roots."""
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
    """Sort key of a root by its name: BokehJS assigns roots to places in their order."""
    return name in LATER, name


class PageRoots:
    """The roots of one page: most are sent with it, the figures of LATER when one of them is first needed."""

    def __init__(self, document: Document, roots: Iterable[Model | LaterFigure]) -> None:
        self._document = document
        ordered = sorted(roots, key=lambda root: place_of(str(root.name)))
        self._later = [root for root in ordered if root.name in LATER]
        self.loaded = False
        """Whether the browser has reported that the page is loaded: roots added earlier get no place."""
        self._add(root for root in ordered if root.name not in LATER)

    @property
    def missing(self) -> bool:
        """Whether there are figures that can be added now."""
        return self.loaded and bool(self._later)

    def complete(self) -> None:
        """Add the missing figures."""
        later, self._later = self._later, []
        self._add(later)

    def _add(self, roots: Iterable[Model | LaterFigure]) -> None:
        with self._document.models.freeze():  # otherwise Bokeh walks through all models once per root
            for root in roots:
                self._document.add_root(root.figure if isinstance(root, LaterFigure) else root)
