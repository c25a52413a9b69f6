"""Who may talk to the dashboard's web server: exact hosts, exact origins, nobody's frames.

Bokeh checks the origin of a websocket, but lets a client without an Origin header in and answers any Host: a page of
somebody else's could reach us through DNS rebinding. Here both must be one of our own addresses, on every request.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from bokeh.server.tornado import BokehTornado
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import ErrorHandler, OutputTransform

from ptylive.schema import PtyliveError


class NotLoopbackError(PtyliveError):
    """The dashboard has no log-in yet, so it listens on this machine only."""


def require_loopback(address: str) -> str:
    """``address`` if it is this machine's own; NotLoopbackError otherwise."""
    try:
        loopback = address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise NotLoopbackError(
            f"the dashboard does not listen on {address!r}",
            "use 127.0.0.1 and forward the port, for instance with ssh -L",
        )
    return address


def own_hosts(address: str, port: int) -> frozenset[str]:
    """The spellings of `host:port` under which a browser on this machine may ask for us."""
    bracketed = f"[{address}]" if ":" in address else address
    return frozenset({f"{bracketed}:{port}", f"localhost:{port}"})


class GuardedApplication(BokehTornado):
    """Bokeh's web application behind the guard."""

    def __init__(self, applications: Any, hosts: frozenset[str], **settings: Any) -> None:
        self.hosts = hosts
        super().__init__(applications, extra_websocket_origins=sorted(hosts), **settings)
        self.add_transform(SecurityHeaders)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """The handler of a request, or a refusal (403)."""
        if not self.admits(request.headers, websocket=request.path.endswith("/ws")):
            return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
        return super().find_handler(request, **kwargs)

    def admits(self, headers: HTTPHeaders, *, websocket: bool) -> bool:
        """Whether Host and Origin are ours; a websocket must name its origin, a page need not."""
        if headers.get("Host", "").lower() not in self.hosts:
            return False
        origin = headers.get("Origin")
        if origin is None:
            return not websocket
        return urlsplit(origin).netloc.lower() in self.hosts


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
