"""A report as one self-contained HTML file: pictures embedded, formatted for A4, no scripts."""

from __future__ import annotations

import base64
from importlib.resources import files

from ptylive.application.report.contents import Report
from ptylive.application.report.elements import Picture

TEMPLATE = "page.html"


def to_html(report: Report) -> str:
    """Render the page. Words that came from files and senders are escaped."""
    from jinja2 import Environment

    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    return page.render(report=report, address=_address)


def _address(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
