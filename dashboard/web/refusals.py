"""Pages that explain why a request was refused, and what to do about it. No scripts, no secrets."""

from __future__ import annotations

from html import escape
from typing import Any

from tornado.web import RequestHandler

RELOAD_S = 10
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">{reload}
<style>
body{{font:16px/1.5 system-ui,sans-serif;background:#11151b;color:#d7dde6;margin:12vh auto;max-width:38em}}
h1{{font-size:1.2em}} code{{background:#1d242e;padding:.1em .3em;border-radius:3px;overflow-wrap:anywhere}}
</style></head>
<body><h1>{title}</h1>{paragraphs}</body></html>
"""


class RefusalHandler(RequestHandler):
    """Answers any request with a status and its reason."""

    def initialize(self, status: int, title: str, lines: tuple[str, ...], reload: bool = False) -> None:
        """``lines``: HTML whose variable parts are escaped; ``reload``: whether the page retries automatically."""
        self._status, self._title, self._lines, self._reload = status, title, lines, reload

    async def prepare(self) -> None:
        """Send the refusal, whatever the method."""
        self.set_status(self._status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        if self._reload:
            self.set_header("Retry-After", str(RELOAD_S))
        refresh = f'<meta http-equiv="refresh" content="{RELOAD_S}">' if self._reload else ""
        paragraphs = "".join(f"<p>{line}</p>" for line in self._lines)
        await self.finish(_PAGE.format(title=escape(self._title), reload=refresh, paragraphs=paragraphs))


def unknown_host(host: str) -> dict[str, Any]:
    """403: the name in the address is not one of ours."""
    requested = escape(host[:100]) or "no name"
    name = escape(host[:100].partition(":")[0])
    return {
        "status": 403,
        "title": "This address is not allowed",
        "lines": (
            f"The browser asked for <code>{requested}</code>, and this server does not answer to that name: "
            "it could be somebody else's page that points at this machine.",
            f"If it is a name of this machine, or of a proxy before it, start the server with "
            f"<code>--allow-host {name}</code>, or forward a port with "
            "<code>ssh -L 5006:127.0.0.1:5006</code> and open <code>http://127.0.0.1:5006</code>; "
            "any free port of your own will do.",
        ),
    }


def foreign_origin(origin: str) -> dict[str, Any]:
    """403: the request came from a foreign page."""
    return {
        "status": 403,
        "title": "This page may not talk to the dashboard",
        "lines": (
            f"The request came from a page at <code>{escape(origin[:100]) or 'an unnamed origin'}</code>.",
            "Open the dashboard's own address instead. Behind a proxy, start the server with "
            "<code>--allow-host NAME</code>, NAME being the one in the browser's address bar.",
        ),
    }


def not_known(*, token: bool = False) -> dict[str, Any]:
    """401: no token, or (``token``) an invalid one."""
    return {
        "status": 401,
        "title": "This token is not valid for this server" if token else "A token is needed",
        "lines": (
            "This server shows its data only to people with one of its tokens.",
            "Open the whole address that was printed where the server was started; it ends in "
            "<code>login?token=…</code>. A browser keeps the token for 30 days; after a restart of the server there "
            "are new ones, unless they were set.",
        ),
    }


def not_permitted() -> dict[str, Any]:
    """403: a viewer requested something that only operators may have."""
    return {
        "status": 403,
        "title": "This is for operators",
        "lines": (
            "Your token is that of a viewer. Open <code>view</code> instead, or ask for the operator's address.",
        ),
    }


def too_many(pages: int) -> dict[str, Any]:
    """503: as many pages are open as can be served."""
    return {
        "status": 503,
        "title": "Too many pages are open",
        "lines": (
            f"{pages} pages are open at the moment, and more would slow down the operator's.",
            f"Close one that nobody is using. This page tries again every {RELOAD_S} seconds.",
        ),
        "reload": True,
    }
