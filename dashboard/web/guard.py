"""Who may access the dashboard's web server: exact hosts, exact origins, roles, and never inside a frame.

Bokeh checks the origin of a websocket, but admits clients without an Origin header and answers any Host: a foreign page
could reach us through DNS rebinding. Here both must be one of our own addresses, on every request.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from bokeh.server.tornado import BokehTornado
from bokeh.server.views.autoload_js_handler import AutoloadJsHandler
from bokeh.server.views.doc_handler import DocHandler
from bokeh.server.views.metadata_handler import MetadataHandler
from bokeh.server.views.multi_root_static_handler import MultiRootStaticHandler
from bokeh.server.views.root_handler import RootHandler
from bokeh.server.views.ws import WSHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform, RedirectHandler, RequestHandler

from ptylive.dashboard.access import PATHS, Access, Role, Visitor, may_visit
from ptylive.dashboard.web.downloads import DownloadHandler, Downloads
from ptylive.dashboard.web.hosts import Host, Hosts, is_loopback
from ptylive.dashboard.web.page_document import PageDocument, PageHandler
from ptylive.dashboard.web.page_socket import PageSocket, RefusedMessages, Turnstile
from ptylive.dashboard.web.refusals import (
    RefusalHandler,
    foreign_origin,
    not_known,
    not_permitted,
    too_many,
    unknown_host,
)
from ptylive.dashboard.web.uploads import UploadHandler, Uploads
from ptylive.schema import PtyliveError

logger = logging.getLogger(__name__)
LOGIN, DOWNLOAD, UPLOAD = "/login", "/download/", "/upload"
MOST_SESSIONS = 40
"""Largest number of pages open at the same time; each costs some megabytes."""
FOR_OPERATORS = 8
"""Number of these pages reserved for operators."""
OURS: Mapping[Any, Any] = {DocHandler: PageHandler, WSHandler: PageSocket}
"""Bokeh's handlers, and the handlers that replace them."""
UNUSED = frozenset({AutoloadJsHandler, MetadataHandler, MultiRootStaticHandler, RootHandler})
"""Bokeh's handlers that our pages do not use."""


class NotLoopbackError(PtyliveError):
    """Without tokens the dashboard listens on this machine only."""


def require_loopback(address: str) -> str:
    """Return ``address`` if it is a loopback address; raise NotLoopbackError otherwise."""
    if not is_loopback(address):
        raise NotLoopbackError(
            f"the dashboard does not listen on {address!r} without tokens",
            "use --token, or 127.0.0.1 and forward the port, for instance with ssh -L",
        )
    return address


class GuardedApplication(BokehTornado):
    """Bokeh's web application behind the guard.

    ``page``: the document that every visitor gets. ``prefix``: the path under which a proxy serves the dashboard.
    """

    def __init__(
        self,
        applications: Any,
        hosts: Hosts,
        page: PageDocument,
        access: Access | None = None,
        prefix: str = "",
        **settings: Any,
    ) -> None:
        self.hosts, self.access, self.page = hosts, access, page
        self.viewers_fetch = False
        """Whether viewers may download, too."""
        self.refused, self.turnstile = RefusedMessages(), Turnstile()
        self.downloads, self.uploads = Downloads(), Uploads()
        secret = secrets.token_bytes(32) if access is None else access.secret
        super().__init__(
            applications,
            prefix=prefix,
            sign_sessions=True,  # otherwise a browser could choose its session, and send a token that unpacks to a lot
            secret_key=secret.hex().encode(),
            compress_response=True,
            log_function=_log_faults,
            **settings,
        )
        self.wildcard_router.rules[:] = [rule for rule in self.wildcard_router.rules if rule.target not in UNUSED]
        for rule in self.wildcard_router.rules:
            rule.target = OURS.get(rule.target, rule.target)
        self.add_transform(SecurityHeaders)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return the handler of a request, or a page that explains why there is none."""
        path = self._within_prefix(request.path)
        visitor = self.visitor_of(request)
        role = None if visitor is None else visitor.role
        refusal = self._refusal(request, path, role)
        if refusal is not None:
            return self.get_handler_delegate(request, RefusalHandler, refusal)
        if path is None:
            return self.get_handler_delegate(request, RedirectHandler, {"url": f"{self.prefix}/", "permanent": False})
        if path == LOGIN:
            return self.get_handler_delegate(request, LoginHandler, {"access": self.access})
        if path == "/" and role is Role.VIEWER:
            return self.get_handler_delegate(request, RedirectHandler, {"url": "view", "permanent": False})
        if path == UPLOAD:
            return self.get_handler_delegate(request, UploadHandler, {"uploads": self.uploads})
        if path.startswith(DOWNLOAD):
            key = path.removeprefix(DOWNLOAD).partition("/")[0]
            return self.get_handler_delegate(request, DownloadHandler, {"downloads": self.downloads, "key": key})
        return super().find_handler(request, **kwargs)

    def _within_prefix(self, path: str) -> str | None:
        """Return a path without the prefix; None for the bare prefix, which lacks its slash."""
        if not self.prefix or not path.startswith(f"{self.prefix}/"):
            return None if self.prefix and path == self.prefix else path
        return path.removeprefix(self.prefix)

    def _refusal(self, request: HTTPServerRequest, path: str | None, role: Role | None) -> dict[str, Any] | None:
        """Return the response to a request that is not admitted; None if it is."""
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if not self.hosts.admits(host):
            return unknown_host(host)
        if not self.admits(request.headers, websocket=request.path.endswith("/ws")):
            return foreign_origin(origin or "")
        if path is None or path == LOGIN:
            return None
        if role is None:
            return not_known()
        fetches = self.viewers_fetch and path.startswith(DOWNLOAD)
        if not (may_visit(role, path) or fetches or (path == "/" and role is Role.VIEWER)):
            return not_permitted()
        if path in PATHS.values() and not self.has_room(read_only=path != "/"):
            return too_many(self.open_pages)
        return None

    @property
    def open_pages(self) -> int:
        """Number of pages that are open, or were a moment ago."""
        return sum(len(self.get_sessions(path)) for path in self.app_paths)

    def has_room(self, *, read_only: bool) -> bool:
        """Whether another page may be opened; some are reserved for operators."""
        return self.open_pages < MOST_SESSIONS - (FOR_OPERATORS if read_only else 0)

    def visitor_of(self, request: HTTPServerRequest) -> Visitor | None:
        """Return the visitor whose identity was proved; without tokens everybody is an operator."""
        if self.access is None:
            return Visitor(Role.OPERATOR)
        cookie = request.cookies.get(cookie_name(request.host))
        return None if cookie is None else self.access.visitor_of_cookie(cookie.value)

    def admits(self, headers: HTTPHeaders, *, websocket: bool) -> bool:
        """Whether Host and Origin are ours; a websocket must send its origin, a page need not."""
        host, origin = headers.get("Host", ""), headers.get("Origin")
        if not self.hosts.admits(host):
            return False
        return not websocket if origin is None else self.hosts.admits_origin(origin, host)


def _log_faults(handler: RequestHandler) -> None:
    """Log faults of this server only; refusals are the visitor's affair, and could fill the log."""
    status = handler.get_status()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE:
        logger.error("%d %s %.80r", status, handler.request.method, handler.request.path)


def cookie_name(host: str) -> str:
    """Name of the cookie, one per port: browsers share cookies between the ports of a host."""
    parsed = Host.parse(host)
    return f"ptylive_{(parsed and parsed.port) or 'web'}"


class LoginHandler(RefusalHandler):
    """``/login?token=…``: exchanges a token for a cookie, and redirects to the page of its role."""

    def initialize(self, access: Access | None) -> None:  # type: ignore[override]
        """Tornado's constructor."""
        super().initialize(**not_known())
        self._access = access

    async def prepare(self) -> None:
        """Refuse nothing at this stage."""

    async def get(self) -> None:
        """Admit the visitor, or answer 401."""
        token = self.get_argument("token", "")
        visitor = Visitor(Role.OPERATOR) if self._access is None else self._access.visitor_of_token(token)
        if visitor is None:
            super().initialize(**not_known(token=bool(token)))
            await super().prepare()
            return
        if self._access is not None:
            name, value = cookie_name(self.request.host), self._access.cookie(visitor)
            proxied = self.request.headers.get("X-Forwarded-Proto") == "https"
            self.set_cookie(name, value, httponly=True, samesite="Strict", secure=proxied, path="/", expires_days=30)
        self.redirect("view" if visitor.role is Role.VIEWER else "./")


class SecurityHeaders(OutputTransform):
    """Headers that isolate the page: no content from elsewhere, and no framing by other pages."""

    POLICY = (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add the headers to the start of every response."""
        headers["Content-Security-Policy"] = self.POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        return status_code, headers, chunk
