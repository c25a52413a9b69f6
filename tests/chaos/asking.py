"""Requests to the control socket, with the time that each answer took."""

import time
import uuid
from typing import Any, Self

import zmq

from ptylive.server.wire.messages import MAX_MESSAGE_BYTES, pack, unpack

PATIENCE_S = 150.0
"""A reply that takes longer counts as missing, however busy the machine is."""
LOST_S = 2.0
"""How long to wait for a reply when the server is known to be gone: the next server may have received the request."""


class Caller:
    """A client that records what it requested and how it was answered.

    server: has ``control``, ``history`` and ``lost``; who: name for the history.
    """

    def __init__(self, server: Any, who: str) -> None:
        self._server, self._who = server, who
        self._context = zmq.Context()
        self._socket = self._connect()

    def _connect(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        socket.connect(self._server.control)
        return socket

    def ask(self, command: str, **arguments: Any) -> dict[str, Any] | None:
        """The reply without its envelope; None if there was no reply, or a refusal."""
        wanted, began, lost = uuid.uuid4().hex, time.monotonic(), self._server.lost
        self._socket.send(pack({"id": wanted, "command": command, **arguments}))
        until = began + PATIENCE_S
        while (now := time.monotonic()) < until:
            if self._server.lost != lost:
                until, lost = min(until, now + LOST_S), self._server.lost
            if not self._socket.poll(100):
                continue
            reply = unpack(self._socket.recv())
            if reply.pop("id", None) == wanted:
                return self._answered(command, arguments, began, reply)
        self._note(command, arguments, began, outcome="unanswered")
        self._socket.close(linger=0)
        self._socket = self._connect()
        return None

    def _answered(self, command: str, arguments: Any, began: float, reply: dict[str, Any]) -> dict[str, Any] | None:
        if reply.pop("ok", False):
            self._note(command, arguments, began, outcome="answered")
            return reply
        self._note(command, arguments, began, outcome="refused", error=str(reply.get("error")))
        return None

    def _note(self, command: str, arguments: dict[str, Any], began: float, **facts: Any) -> None:
        seconds = round(time.monotonic() - began, 4)
        self._server.history.note(
            "request", who=self._who, command=command, arguments=arguments, began=began, seconds=seconds, **facts
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)
