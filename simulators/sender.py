"""The sending end of the native stream: a PUSH connection that never waits for ever, and the `received` question."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import msgpack
import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from ptylive.schema import Arm, ServerGoneError
from ptylive.schema.model import BoolArray
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, PingMessage, encode
from ptylive.streamer.wire.limits import MAX_PART_BYTES

PING_INTERVAL_S = 1.0
_HIGH_WATER_MESSAGES = 8
_SOCKET_BUFFER_BYTES = 4 * 2**20
_QUESTION_TIMEOUT_S = 1.0
_POLL_MS = 100


@dataclass(frozen=True)
class SendPatience:
    """How long to wait, s: for a server to be there at first, for one that went away, for one that takes nothing."""

    first_s: float = 10.0
    away_s: float = 10.0
    stalled_s: float = 120.0


class Sender:
    """Sends one scan to a server's data address, with a ping every second.

    Raises ServerGoneError when nobody takes a message in time. A server that is there but slow (its ring is full) is
    given more time than one that is not there. No ZMTP heartbeats: they break connections that are merely slowed down
    (see ptylive.streamer.receiver).
    """

    def __init__(self, to: str, patience: SendPatience) -> None:
        self.to = to
        self._patience = patience
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MESSAGES)
        self._socket.setsockopt(zmq.SNDBUF, _SOCKET_BUFFER_BYTES)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue for a server that is there, not for one that may come
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._connections = 0
        self._connected = False
        try:
            self._socket.connect(to)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            raise ServerGoneError(f"{to!r} is no address to send to: {error.strerror}", "tcp://HOST:PORT") from None
        self._arm: Arm | None = None
        self._pinged_at = 0.0

    def arm(self, arm: Arm) -> None:
        """Announce a scan."""
        self._arm = arm
        self._pinged_at = time.monotonic()
        self._send(ArmMessage(arm))

    def frames(self, message: FramesMessage) -> None:
        """Send frames, and a ping when one is due."""
        self.ping_if_due()
        self._send(message)

    def ping_if_due(self) -> None:
        """A ping with the arm map, at most one a second."""
        if self._arm is not None and time.monotonic() - self._pinged_at >= PING_INTERVAL_S:
            self._pinged_at = time.monotonic()
            self._send(PingMessage(self._arm.uid, self._arm))

    def pause(self, seconds: float) -> None:
        """Wait, pinging."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, PING_INTERVAL_S / 4))
            self.ping_if_due()

    def end(self, message: EndMessage) -> None:
        """Say that the scan is over."""
        self._send(message)
        self._arm = None

    def close(self, *, flush: bool = True) -> None:
        """Close the connection; with ``flush`` wait until everything has left, as long as a server is there."""
        self._watch()
        linger_s = (self._patience.stalled_s if self._connected else self._patience.first_s) if flush else 0.0
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=int(1000 * linger_s))
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is None)

    def _send(self, message: Message) -> None:
        """Send, waiting while the server is away or slow, within patience. Raises ServerGoneError."""
        parts = encode(message)
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

    def _watch(self) -> bool:
        """Take note of connections made and lost; whether there were any."""
        changed = False
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)["event"]
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._connections += self._connected
            changed = True
        return changed

    def _check_patience(self, waited_s: float) -> None:
        if self._connected:
            if waited_s > self._patience.stalled_s:
                text = f"the server at {self.to} has taken nothing for {self._patience.stalled_s:g} s"
                raise ServerGoneError(text, "look at its log")
            return
        limit = self._patience.away_s if self._connections else self._patience.first_s
        if waited_s > limit:
            text = f"no server takes data at {self.to} (waited {limit:g} s)"
            raise ServerGoneError(text, "start one with ptylive serve")


class SafeFrames:
    """Asks a server's control socket which frames of a scan are safe (contract, section 6: `received`)."""

    def __init__(self, control: str) -> None:
        self.control = control
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def ask(self, arm: Arm) -> BoolArray | None:
        """Which frames are safe, bool (frames,); None when the server does not answer within a second."""
        socket = self._connected()
        wanted = uuid.uuid4().hex
        socket.send(msgpack.packb({"id": wanted, "command": "received", "uid": arm.uid}))
        deadline = time.monotonic() + _QUESTION_TIMEOUT_S
        while socket.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            reply = _reply(socket.recv())
            if reply.get("id") == wanted:
                return _mask(arm, reply.get("ranges", [])) if reply.get("ok") else None
        self._drop()
        return None

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self) -> zmq.Socket[bytes]:
        """The connection; a new one after an unanswered question, so that old answers cannot be mistaken."""
        if self._socket is None:
            self._socket = self._context.socket(zmq.DEALER)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
            try:
                self._socket.connect(self.control)
            except zmq.ZMQError as error:
                raise ServerGoneError(f"{self.control!r} is no control address: {error.strerror}") from None
        return self._socket

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None


def _reply(data: bytes) -> dict[str, Any]:
    try:
        reply = msgpack.unpackb(data)
    except ValueError:
        return {}
    return reply if isinstance(reply, dict) else {}


def _mask(arm: Arm, ranges: Any) -> BoolArray:
    safe = np.zeros(arm.frames, dtype=bool)
    for first, last in ranges:
        safe[int(first) : int(last)] = True
    return safe
