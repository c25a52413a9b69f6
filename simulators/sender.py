"""The sending end of the native stream, and the `received` question."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import msgpack
import numpy as np
import zmq

from ptylive.schema import ScanHeader, ServerGoneError
from ptylive.schema.errors import brief
from ptylive.schema.model import Array, BoolArray
from ptylive.simulators.outlet import Outlet, SendPatience
from ptylive.streamer.sockets.security import ClientKeys
from ptylive.streamer.wire import ArmMessage, EndMessage, FrameLayout, FramesMessage, Message, PingMessage, encode
from ptylive.streamer.wire.limits import MAX_BATCH, MAX_PART_BYTES

PING_INTERVAL_S = 1.0
_QUESTION_TIMEOUT_S = 1.0
_MESSAGE_BYTES = 2**20


class Sender:
    """Sends one scan after the other to a server's data address, with a ping every second. A context manager.

    Raises ServerGoneError when nobody takes a message in time (see :class:`Outlet`). patience: as it is by default.
    """

    def __init__(self, to: str, patience: SendPatience | None = None, keys: ClientKeys | None = None) -> None:
        if not isinstance(to, str):
            raise ServerGoneError(f"{brief(to)} is no address to send to", "tcp://HOST:PORT")
        self._outlet = Outlet(to, patience or SendPatience(), keys=keys)
        self._number = secrets.randbelow(2**62) + 1
        """What every message says that it is of, so that another one's uid may be the same."""
        self._header: ScanHeader | None = None
        self._pinged_at = 0.0

    def arm(self, header: ScanHeader) -> None:
        """Announce a scan."""
        self._header = header
        self._pinged_at = time.monotonic()
        self._send(ArmMessage(header))

    def frames(self, message: FramesMessage) -> None:
        """Send frames, and a ping when one is due."""
        self.ping_if_due()
        self._send(message)

    def patterns(self, first: int, patterns: Array) -> None:
        """Send patterns (n, Qy, Qx) of the scan announced last, numbered from ``first``, in messages of about 1 MB.

        Raises ValueError where none is announced, or its patterns have another shape or type.
        """
        if self._header is None:
            raise ValueError("announce the scan first: arm(header)")
        layout = FrameLayout.of(self._header)
        if patterns.shape[1:] != layout.shape or patterns.dtype != layout.dtype:
            announced = f"{layout.shape} {layout.dtype.str}"
            raise ValueError(f"patterns of {patterns.shape[1:]} {patterns.dtype.str}: announced were {announced}")
        few = max(1, min(MAX_BATCH, _MESSAGE_BYTES // layout.nbytes))
        for start in range(0, len(patterns), few):
            part = np.ascontiguousarray(patterns[start : start + few])
            self.frames(FramesMessage(self._header.uid, first + start, len(part), "none", (part.data.cast("B"),)))

    def ping_if_due(self) -> None:
        """A ping with the arm map, at most one a second."""
        if self._header is not None and time.monotonic() - self._pinged_at >= PING_INTERVAL_S:
            self._pinged_at = time.monotonic()
            self._send(PingMessage(self._header.uid, self._header))

    def pause(self, seconds: float) -> None:
        """Wait, pinging."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, PING_INTERVAL_S / 4))
            self.ping_if_due()

    def end(self, message: EndMessage) -> None:
        """Say that the scan is over."""
        self._send(message)
        self._header = None

    def close(self, *, flush: bool = True) -> None:
        """Close the connection; with ``flush`` wait until everything has left, as long as a server is there."""
        self._outlet.close(flush=flush)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is None)

    def _send(self, message: Message) -> None:
        self._outlet.send(encode(replace(message, sender=self._number)))


class SafeFrames:
    """Asks a server's control socket which frames of a scan are safe (docs/protocol.md: `received`)."""

    def __init__(self, control: str, keys: ClientKeys | None = None) -> None:
        self.control = control
        self._keys = keys
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def ask(self, header: ScanHeader) -> BoolArray | None:
        """Which frames are safe, bool (frames,); None when the server does not answer within a second."""
        socket = self._connected()
        wanted = uuid.uuid4().hex
        socket.send(msgpack.packb({"id": wanted, "command": "received", "uid": header.uid}))
        deadline = time.monotonic() + _QUESTION_TIMEOUT_S
        while socket.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            reply = _reply(socket.recv())
            if reply.get("id") == wanted:
                return _mask(header, reply.get("ranges", [])) if reply.get("ok") else None
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
            if self._keys is not None:
                self._keys.apply(self._socket)
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


def _mask(header: ScanHeader, ranges: Any) -> BoolArray:
    safe = np.zeros(header.frames, dtype=bool)
    for first, last in ranges:
        safe[int(first) : int(last)] = True
    return safe
