"""What the browser does on its own when a part of the page changes: calls of session.js."""

from __future__ import annotations

from collections.abc import Iterable

from bokeh.document import Document
from bokeh.models import CustomJS, Model

from ptylive.dashboard.models import Asked, Page
from ptylive.dashboard.panels.picture import PictureFigure

BEAT_MS = 5000
"""Interval of the beats; the page waits for three of them (session.js)."""


def connect_page(document: Document, page: Page, asked: Asked, views: Iterable[PictureFigure]) -> None:
    """Paint texts and cards as they arrive, report requests, and acknowledge the pictures of ``views``."""
    pairs = [[view.source, view.shown] for view in views]
    page.js_on_change("content", CustomJS(args={"page": page}, code="window.ptylive?.render(page.content)"))
    page.js_on_change("cards", CustomJS(args={"page": page}, code="window.ptylive?.cards(page.cards)"))
    page.js_on_change("beat", CustomJS(args={"page": page}, code="window.ptylive?.beat(page.clock)"))
    page.keep_alive()
    document.add_periodic_callback(page.keep_alive, BEAT_MS)
    arguments = {"page": page, "asked": asked, "pairs": pairs}
    ready = CustomJS(args=arguments, code="window.ptylive?.ready(page, asked, pairs)")
    document.js_on_event("document_ready", ready)
    document.js_on_event("connection_lost", CustomJS(code="window.ptylive?.disconnected()"))


def connect_choices(choosers: Iterable[Model], view: Model, names: list[str], light: Model) -> None:
    """Return the keyboard focus after a choice; change view and theme at once."""
    release = CustomJS(code="window.ptylive?.release()")
    for chooser in choosers:
        chooser.js_on_change("value", release)
    view.js_on_change("active", CustomJS(args={"views": names}, code="window.ptylive?.view(views[cb_obj.active])"))
    light.js_on_change("active", CustomJS(code="window.ptylive?.light(cb_obj.active)"))
