"""Client of a running server: commands with replies, and a stream of events.

The dashboard, the command line and user scripts use exactly this::

    with ControlClient("tcp://127.0.0.1:9998") as client:
        print(client.call("status")["state"])
    with EventStream("tcp://127.0.0.1:9998", topics=("state",)) as events:
        topic, payload = events.next(timeout_s=5)
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from ptylive.schema import CommandError, ServerGoneError
from ptylive.server.process.ports import DEFAULT_CONTROL
from ptylive.server.wire.messages import MAX_MESSAGE_BYTES, TOPICS, events_address, pack, unpack
from ptylive.streamer.sockets.connection import WatchedConnection
from ptylive.streamer.sockets.security import client_keys, hint_for

AT_ONCE, BUSY_S = "status", 1.0
"""A command that a busy server answers, too, and the longest wait for that."""
TURN_S = 0.1
"""Interval between looks whether the wait for a reply has become pointless."""


class ControlClient:
    """One DEALER connection to the control socket; not shared between threads.

    keys: key folder of this client; None uses $PTYLIVE_KEYS, or no keys (ptylive.streamer.sockets.security).
    stopping: ends every wait for a reply when it is set.
    """

    def __init__(
        self,
        address: str = DEFAULT_CONTROL,
        timeout_s: float = 3.0,
        keys: Path | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._keys, self._stopping = client_keys(keys), stopping
        self.address = address
        self.timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket = self._connect()

    def _connect(self) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        if self._keys is not None:
            self._keys.apply(socket)
        self._connection = WatchedConnection(socket, self.address)
        try:
            socket.connect(self.address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            hint = f"give an address like {DEFAULT_CONTROL}"
            raise ServerGoneError(f"cannot connect to {self.address!r}: {error.strerror}", hint) from None
        return socket

    def call(self, command: str, *, timeout_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its reply without the envelope.

        Raises ServerGoneError if no reply comes in time, because there is no server or because it is busy; CommandError
        if the server refuses.
        """
        return self.ask(command, arguments, timeout_s)

    def ask(self, command: str, arguments: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
        """Like :meth:`call`, for arguments of any name, as typed. Raises CommandError for names of the envelope."""
        if reserved := {"id", "command"} & set(arguments):
            raise CommandError(f"no command has the argument {min(reserved)!r}", "leave it out")
        wanted = uuid.uuid4().hex
        request = pack({"id": wanted, "command": command, **arguments})
        if len(request) > MAX_MESSAGE_BYTES:
            most = f"at most {MAX_MESSAGE_BYTES // 2**20} MiB"
            raise CommandError(f"{command} with these arguments has {len(request) // 2**20} MiB", f"send {most}")
        self._socket.send(request)
        wait_ms = int(1000 * (self.timeout_s if timeout_s is None else timeout_s))
        while self._replied(wait_ms):
            reply = unpack(self._socket.recv())
            answers, done = reply.pop("id", None), reply.pop("ok", False)
            if answers != wanted and (done or answers is not None):  # the id of what cannot be read is not known
                continue
            if done:
                return reply
            raise CommandError(str(reply.get("error", "refused")))
        self._connection.look()
        hint = hint_for(self._connection.peer, self._keys)
        self._renew()
        if command != AT_ONCE and self._is_there():
            problem = f"the server at {self.address} is busy: it has not answered {command} for {wait_ms / 1000:g} s"
            raise ServerGoneError(problem, "see its status before you repeat it: it may still carry it out")
        raise ServerGoneError(f"no server answers at {self.address}", hint)

    def _is_there(self) -> bool:
        """Return whether the server answers what it answers at once, whatever it is busy with."""
        self._socket.send(pack({"id": uuid.uuid4().hex, "command": AT_ONCE}))
        return self._replied(int(1000 * min(self.timeout_s, BUSY_S)))

    def _replied(self, wait_ms: int) -> bool:
        """Wait for a message; return whether there is one."""
        if self._stopping is None:
            return bool(self._socket.poll(wait_ms))
        turn_ms = int(1000 * TURN_S)
        for begun_ms in range(0, max(wait_ms, 1), turn_ms):
            if self._stopping.is_set():
                return False
            if self._socket.poll(min(turn_ms, wait_ms - begun_ms)):
                return True
        return False

    def tell(self, command: str, **arguments: Any) -> None:
        """Send a command without reading its reply; it is lost if there is no server."""
        while self._socket.poll(0):
            self._socket.recv()
        try:
            self._socket.send(pack({"id": uuid.uuid4().hex, "command": command, **arguments}), zmq.NOBLOCK)
        except zmq.Again:
            self._renew()

    def _renew(self) -> None:
        """Reconnect, so that no late reply is mistaken, and no foreign program at the address breaks it for good."""
        self._connection.close()
        self._socket.close(linger=0)
        self._socket = self._connect()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EventStream:
    """A SUB connection to the events of a server; not shared between threads. keys: as for ControlClient."""

    def __init__(
        self,
        control: str = DEFAULT_CONTROL,
        topics: Iterable[str] = TOPICS,
        queue: int = 50,
        keys: Path | None = None,
    ) -> None:
        own = client_keys(keys)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVHWM, queue)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        for topic in topics:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        if own is not None:
            own.apply(self._socket)
        address = events_address(control)
        self._connection = WatchedConnection(self._socket, address)
        self._socket.connect(address)

    def next(self, timeout_s: float = 1.0) -> tuple[str, dict[str, Any]] | None:
        """Return the next event as (topic, payload), or None if none came in time."""
        if not self._socket.poll(int(1000 * timeout_s)):
            self._connection.look()
            return None
        topic, payload = self._socket.recv_multipart()
        return topic.decode(), unpack(payload)

    def is_connected(self) -> bool:
        """Return whether a server is at the other end; the system reports a killed server at once."""
        self._connection.look()
        return self._connection.peers > 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
