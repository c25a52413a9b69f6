"""Frames that a sender has sent and the server has not yet reported as safe, and the queries for this."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import msgpack
import numpy as np
import zmq

from ptylive.schema import ScanHeader, ServerGoneError
from ptylive.schema.model import BoolArray
from ptylive.streamer.sockets.security import ClientKeys
from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.limits import MAX_PART_BYTES

_QUESTION_TIMEOUT_S = 1.0


class KeptFrames:
    """Messages of one scan that are kept until the server has their frames on its disk."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._messages: dict[int, FramesMessage] = {}

    def __iter__(self) -> Iterator[FramesMessage]:
        """Iterate over the kept messages as they were sent; those that become safe meanwhile may be dropped."""
        return iter(tuple(self._messages.values()))

    @property
    def frames(self) -> int:
        """Number of frames that are kept."""
        return sum(message.count for message in self._messages.values())

    def keep(self, message: FramesMessage) -> None:
        """Keep a message whose parts nobody changes. The same frames again replace the earlier ones."""
        before = self._messages.get(message.first)
        if before is not None and before.count > message.count:
            return  # sent before, followed by more
        self.nbytes += _bytes_of(message) - (0 if before is None else _bytes_of(before))
        self._messages[message.first] = message

    def drop(self, safe: BoolArray) -> bool:
        """Drop messages that are safe, bool (frames,); return whether there were any."""
        done = [m for m in self._messages.values() if safe[m.first : m.first + m.count].all()]
        for message in done:
            del self._messages[message.first]
            self.nbytes -= _bytes_of(message)
        return bool(done)


def _bytes_of(message: FramesMessage) -> int:
    return sum(memoryview(part).nbytes for part in message.parts)


class SafeFrames:
    """Queries a server's control socket for the safe frames of a scan (docs/protocol.md: `received`)."""

    def __init__(self, control: str, keys: ClientKeys | None = None) -> None:
        self.control = control
        self._keys = keys
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def ask(self, header: ScanHeader) -> BoolArray | None:
        """Return which frames are safe, bool (frames,); None when the server does not answer within a second."""
        reply = self._answer(command="received", uid=header.uid)
        return None if reply is None else _mask(header, reply.get("ranges", []))

    def rejected(self) -> Mapping[str, int] | None:
        """Return the numbers of messages refused since the server's start, by reason; None when it does not answer."""
        reply = self._answer(command="status")
        counts = None if reply is None else reply.get("rejected")
        return counts if isinstance(counts, dict) else None

    def trouble(self, header: ScanHeader) -> str:
        """Return why the server does not record a scan, in its own words; empty if it does, or does not say."""
        reply = self._answer(command="status") or {}
        return str(reply.get("recording_error") or "") if reply.get("uid") == header.uid else ""

    def _answer(self, **question: str) -> dict[str, Any] | None:
        """Return the server's answer to a query; None when it does not answer within a second, or refuses."""
        socket = self._connected()
        wanted = uuid.uuid4().hex
        socket.send(msgpack.packb({"id": wanted, **question}))
        deadline = time.monotonic() + _QUESTION_TIMEOUT_S
        while socket.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            reply = _reply(socket.recv())
            if reply.get("id") == wanted:
                return reply if reply.get("ok") else None
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
        """Return the connection; a new one after an unanswered query, so that old answers cannot be mistaken."""
        if self._socket is None:
            self._socket = self._context.socket(zmq.DEALER)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
            if self._keys is not None:
                self._keys.apply(self._socket)
            try:
                self._socket.connect(self.control)
            except zmq.ZMQError as error:
                raise ServerGoneError(f"{self.control!r} is not a control address: {error.strerror}") from None
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
