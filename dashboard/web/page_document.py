"""The page's document: rendered once, and sent to every visitor with an individual token.

The models of a page are made only when a browser that has loaded it opens a websocket. A request for the address alone
therefore costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from bokeh.core.templates import FILE, MACROS
from bokeh.document import Document
from bokeh.embed.bundle import bundle_for_objs_and_resources
from bokeh.embed.elements import html_page_for_render_items
from bokeh.embed.util import RenderRoot
from bokeh.resources import Resources
from bokeh.server.views.static_handler import StaticHandler
from bokeh.util.token import generate_jwt_token, generate_session_id
from tornado.web import RequestHandler

from ptylive.dashboard.skeleton import TITLE, page_template, page_variables, place_of

COMPONENTS = ("bokeh", "bokeh-widgets")
"""Bundles of BokehJS that the page uses; no tables, no WebGL, and no formulas (1.8 MB)."""
PLACEHOLDER = "THE-TOKEN-OF-THE-PAGE"
OPERATOR_NAME = "operator"
"""Key of the operator's name in the token of a page, which is signed."""


class Places:
    """Places of a document's roots on the page, by their names; records which have been requested."""

    def __init__(self, names: list[str]) -> None:
        self._known, self.asked = names, set[str]()

    def __iter__(self) -> Iterator[RenderRoot]:
        return (self[name] for name in self._known)

    def __getitem__(self, name: str) -> RenderRoot:
        self.asked.add(name)
        element: Any = f"root-{name}"  # Bokeh's type of ids
        model: Any = name
        return RenderRoot(element, model, name, [])

    def __getattr__(self, name: str) -> RenderRoot:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]


class RenderedPage:
    """What Bokeh needs of a page (its RenderItem), without a document.

    BokehJS assigns roots to places in their order, whatever their ids (:func:`place_of`).
    """

    elementid = None

    def __init__(self, names: list[str]) -> None:
        self.roots = Places(names)
        self._names = names

    def to_json(self) -> dict[str, Any]:
        """Data for the script in the page."""
        places = {name: f"root-{name}" for name in self._names}
        return {"token": PLACEHOLDER, "roots": places, "root_ids": self._names, "use_for_title": True}


def root_names() -> list[str]:
    """Names of the roots that the page places, in the order that a document must have."""
    places = Places([])
    page_template().render(
        page_variables() | {"roots": places, "docs": [], "base": FILE, "macros": MACROS, "plot_script": ""}
    )
    return sorted(places.asked, key=place_of)


class PageDocument:
    """The HTML of the page."""

    @cached_property
    def _html(self) -> str:
        resources = Resources(
            mode="server", root_url="./", path_versioner=StaticHandler.append_version, components=list(COMPONENTS)
        )
        bundle = bundle_for_objs_and_resources(None, resources)
        item: Any = RenderedPage(root_names())
        html: str = html_page_for_render_items(
            bundle, {}, [item], TITLE, template=page_template(), template_variables=page_variables()
        )
        return html

    def with_token(self, token: str) -> str:
        """The page for one browser."""
        return self._html.replace(PLACEHOLDER, token)


def operator_of(document: Document) -> str:
    """Name of the operator to whom a page was sent; empty if operators share a token, or need none."""
    context: Any = document.session_context
    return str(context.token_payload.get(OPERATOR_NAME, ""))


class PageHandler(RequestHandler):
    """Serves the page, each time with a new token for its websocket."""

    def initialize(self, **_: Any) -> None:
        """Tornado's constructor; Bokeh's arguments are not needed."""

    async def get(self) -> None:
        """Send the page."""
        application: Any = self.application
        secret, signed = application.secret_key, application.sign_sessions
        token = generate_jwt_token(
            generate_session_id(secret_key=secret, signed=signed),
            secret_key=secret,
            signed=signed,
            expiration=application.session_token_expiration,
            extra_payload={OPERATOR_NAME: application.visitor_of(self.request).name},
        )
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.write(application.page.with_token(token))
