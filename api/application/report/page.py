"""A report as one HTML file that needs nothing else: pictures inside, printed on A4, no script."""

from __future__ import annotations

import base64
from importlib.resources import files

from ptylive.application.report.contents import Report
from ptylive.application.report.elements import Picture

TEMPLATE = "page.html"


def to_html(report: Report) -> str:
    """The page. Words that came from files and senders stand in it as text, whatever they are."""
    from jinja2 import Environment

    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    return page.render(report=report, address=_address)


def _address(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
