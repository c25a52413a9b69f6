"""Who may talk to the dashboard's web server: exact hosts, exact origins, roles, nobody's frames.

Bokeh checks the origin of a websocket, but lets a client without an Origin header in and answers any Host: a page of
somebody else's could reach us through DNS rebinding. Here both must be one of our own addresses, on every request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from bokeh.server.tornado import BokehTornado
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import ErrorHandler, HTTPError, OutputTransform, RedirectHandler, RequestHandler

from ptylive.dashboard.access import PATHS, Access, Role, may_visit
from ptylive.schema import PtyliveError

LOGIN = "/login"
MOST_SESSIONS = 40
"""Pages open at the same time; each costs some megabytes."""


class NotLoopbackError(PtyliveError):
    """Without tokens the dashboard listens on this machine only."""


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def require_loopback(address: str) -> str:
    """``address`` if it is this machine's own; NotLoopbackError otherwise."""
    if not is_loopback(address):
        raise NotLoopbackError(
            f"the dashboard does not listen on {address!r} without tokens",
            "use --token, or 127.0.0.1 and forward the port, for instance with ssh -L",
        )
    return address


def own_hosts(address: str, port: int, names: Iterable[str] = ()) -> frozenset[str]:
    """The spellings of `host:port` under which a browser may ask for us; ``names``: further names of this machine."""
    bracketed = f"[{address}]" if ":" in address else address
    return frozenset(f"{name.lower()}:{port}" for name in (bracketed, "localhost", *names))


class GuardedApplication(BokehTornado):
    """Bokeh's web application behind the guard."""

    def __init__(self, applications: Any, hosts: frozenset[str], access: Access | None = None, **settings: Any) -> None:
        self.hosts, self.access = hosts, access
        if access is not None:
            settings.update(sign_sessions=True, secret_key=access.secret.hex().encode())
        super().__init__(applications, extra_websocket_origins=sorted(hosts), **settings)
        self.add_transform(SecurityHeaders)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """The handler of a request, or a refusal (403)."""
        if not self.admits(request.headers, websocket=request.path.endswith("/ws")):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        if request.path == LOGIN:
            return self.get_handler_delegate(request, LoginHandler, {"access": self.access})
        role = self.role_of(request)
        if role is None:
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 401})
        if request.path == "/" and role is Role.VIEWER:
            return self.get_handler_delegate(request, RedirectHandler, {"url": PATHS[role], "permanent": False})
        if not may_visit(role, request.path):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        if request.path in PATHS.values() and self.open_pages >= MOST_SESSIONS:
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 503})
        return super().find_handler(request, **kwargs)

    @property
    def open_pages(self) -> int:
        """Pages that are open, or were a moment ago."""
        return sum(len(self.get_sessions(path)) for path in self.app_paths)

    def role_of(self, request: HTTPServerRequest) -> Role | None:
        """What the visitor has proved to be; without tokens everybody is an operator."""
        if self.access is None:
            return Role.OPERATOR
        cookie = request.cookies.get(cookie_name(request.host))
        return None if cookie is None else self.access.role_of_cookie(cookie.value)

    def admits(self, headers: HTTPHeaders, *, websocket: bool) -> bool:
        """Whether Host and Origin are ours; a websocket must name its origin, a page need not."""
        if headers.get("Host", "").lower() not in self.hosts:
            return False
        origin = headers.get("Origin")
        if origin is None:
            return not websocket
        return urlsplit(origin).netloc.lower() in self.hosts


def cookie_name(host: str) -> str:
    """One for each port: browsers share cookies between the ports of a host."""
    return f"ptylive_{host.rpartition(':')[2]}"


class LoginHandler(RequestHandler):
    """``/login?token=…``: trades a token for a cookie, and goes on to the page of its role."""

    def initialize(self, access: Access | None) -> None:
        """Tornado's constructor."""
        self._access = access

    def get(self) -> None:
        """Let in, or 401."""
        role = Role.OPERATOR if self._access is None else self._access.role_of_token(self.get_argument("token", ""))
        if role is None:
            raise HTTPError(401)
        if self._access is not None:
            name, value = cookie_name(self.request.host), self._access.cookie(role)
            self.set_cookie(name, value, httponly=True, samesite="Strict", path="/", expires_days=30)
        self.redirect(PATHS[role])


class SecurityHeaders(OutputTransform):
    """Headers that keep the page to itself: nothing from elsewhere, in nobody's frame."""

    POLICY = (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Add the headers to the start of every answer."""
        headers["Content-Security-Policy"] = self.POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        return status_code, headers, chunk
