"""Pages that refuse: a status, a reason, and nothing from the request that a browser would run."""

import asyncio
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import tornado.web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from ptylive.dashboard.web import refusals
from ptylive.dashboard.web.refusals import RefusalHandler

SCRIPT = '"><script>alert(1)</script>'
PAGES = {
    "host": (refusals.unknown_host(f"evil{SCRIPT}:80"), 403),
    "no host": (refusals.unknown_host(""), 403),
    "origin": (refusals.foreign_origin(f"http://evil{SCRIPT}"), 403),
    "no origin": (refusals.foreign_origin(""), 403),
    "token": (refusals.not_known(), 401),
    "viewer": (refusals.not_permitted(), 403),
    "full": (refusals.too_many(7), 503),
}


@pytest.fixture(scope="module")
def served():
    """Address of a server with a page per number, in a thread, as a browser test may have left a loop in this one."""
    started, stop = threading.Event(), asyncio.Event()
    found = {}

    async def serve():
        pages = [(f"/{number}", RefusalHandler, page) for number, (page, _) in enumerate(PAGES.values())]
        server = HTTPServer(tornado.web.Application(pages))
        (socket,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([socket])
        found.update(loop=asyncio.get_running_loop(), address=f"http://127.0.0.1:{socket.getsockname()[1]}")
        started.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(60)
    yield found["address"]
    found["loop"].call_soon_threadsafe(stop.set)
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("number", range(len(PAGES)), ids=PAGES)
def test_every_method_is_answered_with_the_reason(served, number, method):
    page, status = list(PAGES.values())[number]
    request = Request(f"{served}/{number}", b"x" if method == "POST" else None, method=method)
    with pytest.raises(HTTPError) as refused:
        urlopen(request, timeout=60)
    with refused.value as answer:
        text = answer.read().decode()
    assert answer.code == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert page["title"] in text
    assert "<script" not in text
    assert ("http-equiv" in text, "Retry-After" in answer.headers) == (page.get("reload", False),) * 2


@pytest.mark.parametrize("make", [refusals.unknown_host, refusals.foreign_origin])
def test_what_was_asked_for_is_cut_short_and_escaped(make):
    lines = " ".join(make("x" * 10_000 + SCRIPT)["lines"])
    assert len(lines) < 1500
    assert "<script" not in " ".join(make(SCRIPT)["lines"])
