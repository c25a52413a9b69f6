"""The page's skeleton: HTML, style and script, kept as files in `templates/`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template

FOLDER = Path(__file__).parent / "templates"


@cache
def read_template(name: str) -> str:
    """Text of a file in `templates/`."""
    return (FOLDER / name).read_text(encoding="utf-8")


@cache
def page_template() -> Template:
    """The page that Bokeh fills with its models; extends Bokeh's own page (variable ``base``)."""
    return Environment(loader=FileSystemLoader(FOLDER), autoescape=True).get_template("session.html")
