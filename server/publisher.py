"""The PUB side of the control protocol: events for whoever listens, newest only, never waiting for anybody."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import zmq

from ptylive.schema import PtyliveError
from ptylive.server.messages import TOPICS, pack
from ptylive.streamer.security import Gate, ServerKeys

_HIGH_WATER_EVENTS = 64
_LONGEST_WORD = 4096
"""Bytes of anything a listener may send: subscriptions are short, greetings with keys some hundred bytes."""
_WORDS_AT_ONCE = 1000
"""Read before an event is sent: nobody holds it up by talking."""
_SUBSCRIBED, _UNSUBSCRIBED = b"\1", b"\0"
"""First byte of what a listener sends (ZeroMQ's protocol, ZMTP 3)."""


class Publisher:
    """Publishes from any thread. A viewer that does not keep up loses events; nothing queues without bound."""

    def __init__(self, address: str, keys: ServerKeys | None = None) -> None:
        """Bind the event socket; ``keys``: for known clients only. Raises PtyliveError when the address is taken."""
        self._context = zmq.Context()
        self._gate = Gate(self._context, keys)
        self._socket = self._context.socket(zmq.XPUB)  # as PUB, but says who has subscribed to what
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_EVENTS)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LONGEST_WORD)
        self._gate.protect(self._socket)
        self._lock = threading.Lock()
        self._closed = False
        self._subscriptions: Counter[bytes] = Counter()
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
                self._note_subscriptions()
                self._socket.send_multipart(message)

    def listeners(self, topic: str) -> int:
        """Subscriptions that this topic is sent to."""
        with self._lock:
            if not self._closed:
                self._note_subscriptions()
            return sum(count for begin, count in self._subscriptions.items() if topic.encode().startswith(begin))

    def _note_subscriptions(self) -> None:
        """Read what listeners have sent since; anything but subscriptions is nobody's business."""
        with suppress(zmq.Again):
            for _ in range(_WORDS_AT_ONCE):
                said = self._socket.recv(zmq.NOBLOCK)
                change = {_SUBSCRIBED: 1, _UNSUBSCRIBED: -1}.get(said[:1], 0)
                if any(topic.encode().startswith(said[1:]) for topic in TOPICS):
                    self._subscriptions[said[1:]] += change

    def log(self, level: str, message: str) -> None:
        """Send a line for the log."""
        self.publish("log", {"time": time.time(), "level": level, "message": message})

    def close(self) -> None:
        """Close the socket; later events go nowhere."""
        with self._lock:
            self._closed = True
            self._gate.close()
            self._context.destroy(linger=0)
