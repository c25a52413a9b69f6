"""A client of the dashboard's websocket that can send anything."""

import asyncio
import json
import re
import ssl
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.netutil import DefaultLoopResolver, OverrideResolver
from tornado.websocket import WebSocketClientConnection, websocket_connect

PATIENCE_S = 180.0


class PageClient:
    """A page without a browser: fetches the document, opens its websocket, and sends what it is told to."""

    def __init__(self, socket: WebSocketClientConnection, page: str) -> None:
        self.socket, self.page = socket, page

    @classmethod
    async def open(cls, url: str, path: str = "/", tls: ssl.SSLContext | None = None, **headers: str) -> "PageClient":
        """``tls``: the certificate to trust; the name in ``url`` then resolves to this machine."""
        here = {str(urlsplit(url).hostname): "127.0.0.1"} if tls is not None else {}
        request = HTTPRequest(url + path, request_timeout=PATIENCE_S, headers=headers, ssl_options=tls)
        asking = AsyncHTTPClient(force_instance=True, hostname_mapping=here)
        page = (await asking.fetch(request)).body.decode()
        asking.close()
        token = re.search(r'"token":"([^"]+)"', page)
        assert token is not None
        address = url.replace("http", "ws") + path.rstrip("/") + "/ws"
        given = {"Origin": url, **headers}
        request = HTTPRequest(address, headers=given, connect_timeout=PATIENCE_S, ssl_options=tls)
        names = OverrideResolver(resolver=DefaultLoopResolver(), mapping=here)
        client = cls(await websocket_connect(request, subprotocols=["bokeh", token[1]], resolver=names), page)
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: client.socket.close())  # tornado complains about a socket left open
        assert (await client.receive())[0]["msgtype"] == "ACK"
        return client

    async def receive(self) -> tuple[dict[str, Any], Any]:
        """Header and content of the next message; ({}, None) if the server has closed the connection."""
        parts: list[Any] = []
        while len(parts) < 3:
            part = await self.socket.read_message()
            if part is None:
                return {}, None
            parts.append(part)
        header = json.loads(parts[0])
        for _ in range(2 * int(header.get("num_buffers", 0))):
            await self.socket.read_message()
        return header, json.loads(parts[2])

    async def say(self, kind: str, content: Any, number: int = 1, **header: Any) -> None:
        head = {"msgid": str(number), "msgtype": kind, **header}
        for part in (json.dumps(head), "{}", content if isinstance(content, str) else json.dumps(content)):
            await self.socket.write_message(part)

    async def ask(self, kind: str, content: Any, number: int = 1, **header: Any) -> tuple[str, Any]:
        """Send a message; return kind and content of the answer, skipping other messages."""
        await self.say(kind, content, number, **header)
        while True:
            head, reply = await self.receive()
            if not head or head.get("reqid") == str(number):
                return str(head.get("msgtype", "closed")), reply
