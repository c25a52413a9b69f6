"""Commands to the server, sent from a separate thread so that no page waits for a reply."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ptylive.schema import ServerGoneError
from ptylive.server.wire.client import ControlClient

COMMAND_TIMEOUT_S = 10.0


class CommandQueue:
    """Takes commands and returns futures; uses one connection and one thread, and keeps the given order."""

    def __init__(self, control: str) -> None:
        self._control = control
        self._client: ControlClient | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commands")

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        """Send a command; the future holds the reply, or a ServerGoneError or CommandError."""
        try:
            return self._worker.submit(self._call, command, arguments)
        except RuntimeError:  # closed: a page may still be open while the dashboard ends
            refused: Future[dict[str, Any]] = Future()
            refused.set_exception(ServerGoneError("the dashboard is ending"))
            return refused

    def _call(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._client is None:
            self._client = ControlClient(self._control, timeout_s=COMMAND_TIMEOUT_S)
        return self._client.call(command, **arguments)

    def close(self) -> None:
        """Drop the waiting commands and close the connection."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        if self._client is not None:
            self._client.close()
