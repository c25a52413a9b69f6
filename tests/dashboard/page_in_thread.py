"""A dashboard in a thread of the test process, without a server."""

import asyncio
import http.client
import threading
from collections.abc import Callable
from typing import Any

from page_client import PATIENCE_S

from ptylive.dashboard.access import Access, Role, Visitor
from ptylive.dashboard.app import Dashboard

OPERATOR, VIEWER = "operator-token-0123456789", "viewer-token-0123456789"
ACCESS = Access(OPERATOR, VIEWER)


class Running:
    """A dashboard with tokens, in a thread of this process; it has no server."""

    def __init__(self, **settings: Any) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(settings)))
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    async def _run(self, settings: dict[str, Any]) -> None:
        self.dashboard = Dashboard("tcp://127.0.0.1:9", port=0, **settings)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.call_soon(self._ready.set)
        await self.dashboard.run(self._stop)

    def do(self, what: Callable[[], Any]) -> Any:
        """Run a coroutine in the dashboard's loop."""
        return asyncio.run_coroutine_threadsafe(what(), self._loop).result(PATIENCE_S)

    def get(
        self, path: str, method: str = "GET", port: int = 0, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.dashboard.port, timeout=PATIENCE_S)
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)

    def cookie(self, role: str) -> str:
        return f"ptylive_{self.dashboard.port}={ACCESS.cookie(Visitor(Role(role)))}"
