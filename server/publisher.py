"""The PUB side of the control protocol: events for whoever listens, newest only, never waiting for anybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import zmq

from ptylive.schema import PtyliveError
from ptylive.server.messages import MAX_MESSAGE_BYTES, pack
from ptylive.streamer.security import Gate, ServerKeys

_HIGH_WATER_EVENTS = 64


class Publisher:
    """Publishes from any thread. A viewer that does not keep up loses events; nothing queues without bound."""

    def __init__(self, address: str, keys: ServerKeys | None = None) -> None:
        """Bind the event socket; ``keys``: for known clients only. Raises PtyliveError when the address is taken."""
        self._context = zmq.Context()
        self._gate = Gate(self._context, keys)
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_EVENTS)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._gate.protect(self._socket)
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._gate.close()
            self._context.destroy(linger=0)
            raise PtyliveError(f"cannot publish at {address}: {error.strerror}", "is another server running?") from None

    def publish(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Send one event."""
        message = [topic.encode(), pack(payload)]
        with self._lock:
            if not self._closed:
                self._socket.send_multipart(message)

    def log(self, level: str, message: str) -> None:
        """Send a line for the log."""
        self.publish("log", {"time": time.time(), "level": level, "message": message})

    def close(self) -> None:
        """Close the socket; later events go nowhere."""
        with self._lock:
            self._closed = True
            self._gate.close()
            self._context.destroy(linger=0)
