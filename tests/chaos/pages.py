"""Visitors of the dashboard and of the metrics: plain requests, reloads, and pages left open."""

import asyncio
import http.client
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress

from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketError
from viewers import stare

from chaos.asking import PATIENCE_S, Caller
from chaos.processes import ServerUnderTest

RELOADS = 3


def visit(server: ServerUnderTest, how: str, seconds: float) -> None:
    """One visit, which may take up to ``seconds``."""
    if how == "metrics":
        with Caller(server, "visitor") as caller:
            status = caller.ask("status")
        if status and status.get("metrics"):
            get(server, str(status["metrics"]))
        return
    url = f"http://{server.page}/"
    for _ in range(RELOADS if how == "reload" else 1):
        loaded = get(server, url)
        if loaded and how != "get":
            _watch(url, seconds if how == "watch" else 0.5)


def get(server: ServerUnderTest, url: str) -> bool:
    """Whether a page came; the time it took is recorded."""
    began, outcome = time.monotonic(), "answered"
    error = ""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as reply:
            reply.read()
    except TimeoutError:
        outcome = "unanswered"
    except urllib.error.HTTPError as problem:
        outcome, error = "refused", f"{problem.code} {problem.reason}"
    except (OSError, http.client.HTTPException) as problem:  # nobody listens, or the dashboard was killed meanwhile
        outcome, error = "gone", str(problem)
    seconds = round(time.monotonic() - began, 4)
    server.history.note(
        "request", who="page", command=f"GET {url}", began=began, seconds=seconds, outcome=outcome, error=error
    )
    return outcome == "answered"


def _watch(url: str, seconds: float) -> None:
    """A page left open; it does not matter to its viewer if the dashboard is killed meanwhile."""
    stop = threading.Event()
    threading.Timer(seconds, stop.set).start()
    with suppress(OSError, HTTPError, WebSocketError, AssertionError):
        asyncio.run(stare(url.rstrip("/"), stop))
