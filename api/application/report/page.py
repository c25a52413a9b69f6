"""A report as one self-contained HTML file: pictures embedded, formatted for A4, no scripts."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path

from ptylive.application.report.contents import Report
from ptylive.application.report.elements import Picture

TEMPLATE = "page.html"
_AUTHOR = b'<meta name="generator" content="ptylive report">\n'


def to_html(report: Report) -> str:
    """Render the page. Words that came from files and senders are escaped."""
    from jinja2 import Environment

    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
    return page.render(report=report, address=_address)


def is_own_page(path: Path) -> bool:
    """Whether a file is a page made by :func:`to_html`, of an earlier version too. Raises OSError."""
    title = b"<title>"
    head = files(__package__).joinpath(TEMPLATE).read_bytes().partition(title)[0]
    with path.open("rb") as file:
        beginning = file.read(len(head) + len(title))
    return beginning.startswith((head, head.replace(_AUTHOR, b"") + title))


def _address(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"
