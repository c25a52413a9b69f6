"""Viewers without a browser: they accept whatever a dashboard sends and never report that they have shown it."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect


async def stare(url: str, stop: threading.Event) -> None:
    """One viewer, until ``stop`` is set."""
    page = (await AsyncHTTPClient().fetch(url)).body.decode()
    token = re.search(r'"token":"([^"]+)"', page)
    assert token is not None
    request = HTTPRequest(url.replace("http", "ws") + "/ws", headers={"Origin": url})
    socket = await websocket_connect(request, subprotocols=["bokeh", token[1]])
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(socket.read_message(), 0.2)
    socket.close()


@contextmanager
def staring(url: str, viewers: int) -> Iterator[None]:
    """Some viewers of a dashboard."""
    stop = threading.Event()
    threads = [threading.Thread(target=lambda: asyncio.run(stare(url, stop)), daemon=True) for _ in range(viewers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
