"""The PUB side of the control protocol: events for all listeners, newest only, never waiting for any of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ptylive.schema import PtyliveError
from ptylive.schema.errors import printable
from ptylive.server.wire.messages import TOPICS, pack
from ptylive.streamer.sockets.security import Gate, ServerKeys

_HIGH_WATER_EVENTS = 64
_LONGEST_WORD = 4096
"""Maximum bytes in anything a listener may send: subscriptions are short, greetings with keys some hundred bytes."""
_WORDS_AT_ONCE = 1000
"""Maximum number of listener messages read before an event is sent, so that no listener can delay it."""
_CONNECTION = "__fd"
"""libzmq's message property with the file descriptor of its connection."""
_SUBSCRIBED, _UNSUBSCRIBED = b"\1", b"\0"
"""First byte of a listener's message (ZeroMQ's protocol, ZMTP 3)."""


lines = logging.getLogger(f"{__name__}.lines")
"""Logger for a terminal. It is silent if a dashboard shows the log."""
lines.setLevel(logging.CRITICAL + 1)
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Publisher:
    """Publisher of events, callable from any thread. A viewer that cannot keep up loses events; queues are bounded."""

    def __init__(self, address: str, keys: ServerKeys | None = None) -> None:
        """Bind the event socket; ``keys``: for known clients only. Raises PtyliveError when the address is taken."""
        self._context = zmq.Context()
        self._gate = Gate(self._context, keys)
        self._socket = self._context.socket(zmq.XPUB)  # like PUB, but reports subscriptions
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_EVENTS)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _LONGEST_WORD)
        self._gate.protect(self._socket)
        self._lock = threading.Lock()
        self._closed = False
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._subscriptions: dict[int, set[bytes]] = {}
        """Subscriptions of every connection, by the number of its file descriptor."""
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
        """Return the number of connections that this topic is sent to."""
        with self._lock:
            if not self._closed:
                self._note_subscriptions()
            every = self._subscriptions.values()
            return sum(any(topic.encode().startswith(begin) for begin in begins) for begins in every)

    def _note_subscriptions(self) -> None:
        """Read what listeners have sent since the last call, ignoring everything except subscriptions.

        Messages are read before the list of connections, so that the connections of all messages read are known. A
        closed connection loses its subscriptions, however often it had sent them.
        """
        received: list[tuple[int, bytes]] = []
        with suppress(zmq.Again):
            for _ in range(_WORDS_AT_ONCE):
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
                with suppress(zmq.ZMQError, ValueError):  # libzmq's own message about a closed connection
                    received.append((int(str(frame.get(_CONNECTION))), frame.bytes))
        while self._monitor.poll(0):
            event = recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._subscriptions[int(event["value"])] = set()
            else:
                self._subscriptions.pop(int(event["value"]), None)
        for connection, word in received:
            begins = self._subscriptions.get(connection, set())
            if word[:1] == _UNSUBSCRIBED:
                begins.discard(word[1:])
            elif word[:1] == _SUBSCRIBED and any(topic.encode().startswith(word[1:]) for topic in TOPICS):
                begins.add(word[1:])

    def log(self, level: str, message: str) -> None:
        """Publish a line for the log."""
        self.publish("log", {"time": time.time(), "level": level, "message": message})
        lines.log(_LEVELS.get(level, logging.INFO), "%s", printable(message))

    def close(self) -> None:
        """Close the socket; later events are dropped."""
        with self._lock:
            self._closed = True
            self._gate.close()
            self._context.destroy(linger=0)
