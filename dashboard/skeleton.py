"""The page's skeleton: HTML, style and script, kept as files in `templates/`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template

from ptylive.dashboard.keys import KEYS
from ptylive.dashboard.panels.calibration import EDITABLE, ESTIMABLE
from ptylive.dashboard.panels.refine import FURTHER_HELP, SETTINGS
from ptylive.dashboard.readouts import CALIBRATION_ROWS

TITLE = "ptylive"
FOLDER = Path(__file__).parent / "templates"


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
        "further_help": FURTHER_HELP,
        "keys": KEYS,
        "editable": EDITABLE,
        "estimable": ESTIMABLE,
        "calibration_rows": CALIBRATION_ROWS,
    }
