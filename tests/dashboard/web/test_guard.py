"""Who may talk to the dashboard: its own hosts and origins, on loopback."""

import asyncio
import http.client
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
from running_dashboard import RunningDashboard

from ptylive.dashboard.app import MAX_UPLOAD_BYTES
from ptylive.dashboard.web.guard import NotLoopbackError, require_loopback


def status(dashboard: RunningDashboard, path: str, headers: dict[str, str]) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "bokeh, token",
}


def test_only_our_own_hosts_and_origins_are_served(dashboard: RunningDashboard) -> None:
    ours = f"127.0.0.1:{dashboard.port}"
    code, headers = status(dashboard, "/", {"Host": ours})
    assert code == 200
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert status(dashboard, "/", {"Host": f"localhost:{dashboard.port}"})[0] == 200
    assert status(dashboard, "/", {"Host": "evil.example"})[0] == 403
    assert status(dashboard, "/", {"Host": ours, "Origin": "http://evil.example"})[0] == 403
    for origin in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}):
        assert status(dashboard, "/ws", {"Host": ours, **UPGRADE, **origin})[0] == 403
    assert status(dashboard, "/ws", {"Host": ours, **UPGRADE, "Origin": dashboard.url})[0] != 403


def test_loopback_only() -> None:
    assert require_loopback("127.0.0.1") == "127.0.0.1"
    for address in ("0.0.0.0", "192.168.1.2", "example.org", ""):
        with pytest.raises(NotLoopbackError, match="does not listen"):
            require_loopback(address)


async def _talk(dashboard: RunningDashboard, size: int) -> int | None:
    """Open a page's websocket and announce a message of ``size`` bytes; return the server's closing code, if it closed.

    Only the head of the message is sent: with bytes still on their way the code could be lost with the connection.
    """
    import re

    from tornado.httpclient import AsyncHTTPClient, HTTPRequest
    from tornado.websocket import websocket_connect

    page = (await AsyncHTTPClient().fetch(dashboard.url)).body.decode()
    token = re.search(r'"token":"([^"]+)"', page)
    assert token is not None
    request = HTTPRequest(dashboard.url.replace("http", "ws") + "/ws", headers={"Origin": dashboard.url})
    socket = await websocket_connect(request, subprotocols=["bokeh", token[1]])
    assert await socket.read_message() is not None
    assert socket.protocol is not None
    await socket.protocol.stream.write(struct.pack(">BBQ4s", 0x81, 0x80 | 127, size, bytes(4)))  # RFC 6455, section 5.2
    for _ in range(20):
        if await socket.read_message() is None:
            break
    code: int | None = socket.close_code
    socket.close()
    return code


def test_an_oversized_message_ends_its_connection_only(dashboard: RunningDashboard) -> None:
    with ThreadPoolExecutor(1) as thread:  # playwright keeps an event loop running in this thread
        code = thread.submit(lambda: asyncio.run(_talk(dashboard, 2 * MAX_UPLOAD_BYTES))).result()
    assert code == 1009
    assert status(dashboard, "/", {"Host": f"127.0.0.1:{dashboard.port}"})[0] == 200
