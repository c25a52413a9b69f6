"""A PUSH socket that never waits for ever, through which every simulated sender sends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import zmq

from ptylive.schema import ServerGoneError
from ptylive.streamer.sockets.connection import WatchedConnection
from ptylive.streamer.sockets.security import ClientKeys, hint_for
from ptylive.streamer.wire.arrays import Buffer

_SOCKET_BUFFER_BYTES = 4 * 2**20
_HIGH_WATER_MESSAGES = 8
_HIGH_WATER_IMAGES = 1024  # single images, as a detector's own buffer holds them
_POLL_MS = 100


@dataclass(frozen=True)
class SendPatience:
    """How long to wait, in s: for a server to appear at first, for one that went away, for one that takes nothing."""

    first_s: float = 10.0
    away_s: float = 10.0
    stalled_s: float = 120.0


class Outlet:
    """Sends messages to a server; raises ServerGoneError when nobody takes one in time. A context manager.

    ``binds``: wait for the server to connect, as a DECTRIS detector does (``address`` then gives the bound address;
    port 0: any). A server that is present but slow (its ring is full) is given more time than one that is absent. No
    ZMTP heartbeats: they break connections that are merely slowed down (see ptylive.streamer.receiver).
    """

    def __init__(
        self, address: str, patience: SendPatience, *, binds: bool = False, keys: ClientKeys | None = None
    ) -> None:
        self._patience = patience
        self._keys = keys
        self._binds = binds
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_IMAGES if binds else _HIGH_WATER_MESSAGES)
        self._socket.setsockopt(zmq.SNDBUF, _SOCKET_BUFFER_BYTES)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue for a server that is there, not for one that may come
        if keys is not None:
            keys.apply(self._socket)
        self._connection = WatchedConnection(self._socket, None if binds else address)
        try:
            if binds:
                self._socket.bind(address.replace(":0", ":*") if address.endswith(":0") else address)
            else:
                self._socket.connect(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            problem = "cannot be bound" if binds else "is not an address to send to"
            raise ServerGoneError(f"{address!r} {problem}: {error.strerror}", "tcp://HOST:PORT") from None
        self.address = str(self._socket.getsockopt_string(zmq.LAST_ENDPOINT)) if binds else address

    def send(self, parts: Sequence[Buffer]) -> None:
        """Send one message, waiting while the server is away or slow, within patience. Raises ServerGoneError."""
        waiting_since = changed_at = time.monotonic()
        while True:
            try:
                self._socket.send_multipart(parts, flags=zmq.NOBLOCK, copy=False)
            except zmq.Again:
                if self._watch():
                    changed_at = time.monotonic()
                self._check_patience(time.monotonic() - max(waiting_since, changed_at))
                self._socket.poll(_POLL_MS, zmq.POLLOUT)
            else:
                return

    def close(self, *, flush: bool = True) -> None:
        """Close the connection; with ``flush`` wait until everything has been sent, as long as a server is there."""
        self._watch()
        linger_s = (self._patience.stalled_s if self._connection.peers else self._patience.first_s) if flush else 0.0
        self._connection.close()
        self._socket.close(linger=int(1000 * linger_s))
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is None)

    def _watch(self) -> bool:
        """Process connections made and lost; return whether there were any."""
        return self._connection.look()

    def _check_patience(self, waited_s: float) -> None:
        if self._connection.peers:
            if waited_s > self._patience.stalled_s:
                text = f"the server at {self.address} has taken nothing for {self._patience.stalled_s:g} s"
                raise ServerGoneError(text, "look at its log")
            return
        limit = self._patience.away_s if self._connection.had_peers else self._patience.first_s
        if waited_s > limit:
            text = f"no server takes data at {self.address} (waited {limit:g} s)"
            listening = f"start one with ptylive serve --protocol … --data {self.address}"
            hint = listening if self._binds else hint_for(self._connection.peer, self._keys)
            raise ServerGoneError(text, hint)
