"""The TCP connection to a detector's port: a thread that owns it and hands whole messages to the receiver's socket.

The receiver's PULL socket is bound to an inner address; this thread only signals through it that data are ready, and
keeps the data themselves in a queue (:meth:`DetectorConnection.taken`), because having libzmq hand over memory costs
more. When the receiver does not take the data (its ring is full), the short queue between them fills, nothing more is
read, and TCP holds the detector back. Each part is a message of the detector, with as many sent together as have
arrived: two threads that hand over single frames spend most of their time waiting for Python's lock. Events of the
connection are queued in order with the messages, as four parts of which the first is empty (:func:`event`).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import zmq

from ptylive.schema import PtyliveError, WireError
from ptylive.streamer.sockets.detector_watch import absence_warning
from ptylive.streamer.wire.arrays import Buffer

MOST_QUEUED = 8
"""Most items queued between the connection and the receiver: parts of at most as many 16 MiB buffers."""
_MOST_TOGETHER, _MOST_TOGETHER_BYTES = 64, 2**20
_MUCH_BYTES, _ENOUGH_BYTES, _MOMENT_S = 2**19, 4 * 2**20, 0.002
"""While bytes keep arriving: the amount that a read waits for, the amount handed on together, and the longest wait.
Large amounts cost less, and TCP keeps arriving bytes where its buffer holds :data:`_KERNEL_BYTES` (a smaller buffer
would be full, and the sender would wait as long).
"""
_KERNEL_BYTES = 4 * 2**20
_CONNECT_TIMEOUT_S = 2.0
_TICK_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_STANDS_S = 1.0
"""A connection that has lasted this long, or delivered data, counts as established."""
_KEEP_ALIVE_S = 10
_NOTE, _GONE, _REFUSED = b"note", b"gone", b"refused"


class Splitter(Protocol):
    """A buffer into which bytes are read, and the messages that have arrived; bounded."""

    @property
    def pending(self) -> int:
        """Bytes of a message that has not arrived completely."""
        ...

    def room(self) -> memoryview:
        """Return memory to read the next bytes into: at least one byte."""
        ...

    def read(self, count: int) -> Iterator[Buffer | WireError]:
        """Yield the messages that ``count`` bytes complete, and the errors of refused bytes; valid as long as held.

        No bytes: nothing more has arrived for a while.
        """
        ...


def event(parts: Sequence[Buffer]) -> str | None:
    """Describe an event of the connection for a person; None where the parts are messages of the detector.

    Raises WireError for bytes that the connection refused.
    """
    if len(parts[0]):
        return None
    kind, text, reason = (bytes(part) for part in parts[1:])
    if kind == _REFUSED:
        raise WireError(text.decode(), reason.decode())
    return text.decode()


def is_gone(parts: Sequence[Buffer]) -> bool:
    """Whether the event (see :func:`event`) is that the connection ended."""
    return not len(parts[0]) and bytes(parts[1]) == _GONE


def host_and_port(address: str, default_port: int) -> tuple[str, int]:
    """Split ``tcp://HOST[:PORT]`` or HOST[:PORT]. Raises PtyliveError."""
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port or default_port
    except ValueError:  # a port that is not a number, half a pair of brackets
        host = None
    if not host or parts.scheme != "tcp" or parts.path or parts.query:
        raise PtyliveError(f"{address!r} is not the address of a detector", "give tcp://HOST:PORT")
    return host, port


class DetectorConnection:
    """Connects to a detector, and reconnects whenever needed, from :meth:`start` to :meth:`stop`.

    A loss is reported once, and so is the return of the connection.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        inner: str,
        make_splitter: Callable[[], Splitter],
        default_port: int,
    ) -> None:
        """``inner``: where the receiver takes messages; ``make_splitter``: for the detector's protocol, called once per
        connection. Raises PtyliveError for an invalid address.
        """
        self.address = address
        self._host, self._port = host_and_port(address, default_port)
        self._make_splitter = make_splitter
        self._context = context
        self._inner = inner
        self._stop = threading.Event()
        self.missing = ""
        """What to say while there is no connection; empty where there is one. Readable from any thread."""
        self._handed: deque[Sequence[Buffer]] = deque()
        self._thread = threading.Thread(target=self._run, name="detector", daemon=True)

    def start(self) -> None:
        """Connect; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connection; data that have been read but not taken are lost."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2 * _CONNECT_TIMEOUT_S)  # longer only where a host name is being looked up

    def taken(self) -> Sequence[Buffer]:
        """Return the parts that belong to the oldest message read at the inner address: one call for each."""
        return self._handed.popleft()

    def _run(self) -> None:
        with contextlib.suppress(zmq.ZMQError), self._context.socket(zmq.PUSH) as push:  # the context has been closed
            push.setsockopt(zmq.LINGER, 0)
            push.setsockopt(zmq.SNDHWM, 1)
            push.setsockopt(zmq.SNDTIMEO, int(1000 * _TICK_S))
            push.connect(self._inner)
            self._push = push
            pause_s = _FIRST_PAUSE_S
            while not self._stop.is_set():
                delivered = self._run_connection()
                pause_s = _FIRST_PAUSE_S if delivered else min(2 * pause_s, _LONGEST_PAUSE_S)
                self._stop.wait(pause_s)

    def _run_connection(self) -> bool:
        """Run one connection from its beginning to its end; return whether it delivered anything."""
        try:
            with socket.create_connection((self._host, self._port), _CONNECT_TIMEOUT_S) as connection:
                if connection.getsockname() == connection.getpeername():
                    raise OSError("connected to itself")  # a port of this machine at which nobody listens
                return self._receive(connection)
        except (OSError, UnicodeError) as error:  # the latter: an impossible host name
            self._note_lost(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        except zmq.ZMQError:
            raise
        except Exception as error:  # an internal fault must not end reception for good
            logging.getLogger(__name__).exception("fault in the thread of the connection")
            self._report(_REFUSED, f"internal error: {error!r}", "internal_error")
        return False

    def _receive(self, connection: socket.socket) -> bool:
        """Hand on received data until the connection ends; return whether anything was received."""
        _keep_alive(connection)
        roomy, many = _has_room(connection), False
        connection.settimeout(_TICK_S)
        splitter, since, delivered = self._make_splitter(), time.monotonic(), False
        room, filled = splitter.room(), 0
        why = "closed by the other side"
        while not self._stop.is_set():
            if self.missing and (delivered or time.monotonic() - since > _STANDS_S):
                self.missing = ""
                self._report(_NOTE, f"connected to the detector at {self.address}")
            try:
                count = connection.recv_into(room[filled:])
            except TimeoutError:
                if filled or not many:
                    self._take(splitter, filled)
                    room, filled = splitter.room(), 0
                many = many and _wait_for(connection, 1, _TICK_S)
                continue
            except OSError as error:
                why = error.strerror or str(error)
                break
            if not count:
                break
            delivered, filled = True, filled + count
            if not roomy or filled > min(_ENOUGH_BYTES, len(room) - _MUCH_BYTES):
                self._take(splitter, filled)
                room, filled = splitter.room(), 0
            if roomy and not many:
                many = _wait_for(connection, _MUCH_BYTES, _MOMENT_S)
        self._take(splitter, filled)
        self._take(splitter, 0)
        if splitter.pending and not self._stop.is_set():
            self._report(_REFUSED, f"the connection ended {splitter.pending} bytes into a message", "truncated")
        self._note_lost(why)
        return delivered

    def _take(self, splitter: Splitter, count: int) -> None:
        """Hand on the messages that ``count`` bytes complete."""
        together: list[Buffer] = []
        nbytes = 0
        for item in splitter.read(count):
            if not isinstance(item, WireError):
                together.append(item)
                nbytes += len(item)
            if together and (
                isinstance(item, WireError) or len(together) >= _MOST_TOGETHER or nbytes >= _MOST_TOGETHER_BYTES
            ):
                self._hand_on(together)
                together, nbytes = [], 0
            if isinstance(item, WireError):
                self._report(_REFUSED, str(item), item.reason)
        if together:
            self._hand_on(together)

    def _note_lost(self, why: str) -> None:
        if not (self.missing or self._stop.is_set()):
            self.missing = absence_warning(self.address, why)
            self._report(_GONE, self.missing)

    def _report(self, kind: bytes, text: str, reason: str = "") -> None:
        self._hand_on([b"", kind, text.encode(), reason.encode()])

    def _hand_on(self, parts: Sequence[Buffer]) -> None:
        """Hand on parts, waiting as long as the receiver takes nothing; meanwhile nothing is read."""
        self._handed.append(parts)  # of a buffer that is not overwritten meanwhile
        while not self._stop.is_set():
            with contextlib.suppress(zmq.Again):
                self._push.send(b"")
                return


def _keep_alive(connection: socket.socket) -> None:
    """Detect that a detector's computer has been switched off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, _KEEP_ALIVE_S)


def _wait_for(connection: socket.socket, nbytes: int, patience_s: float) -> bool:
    """Make reads wait for a number of bytes, at most ``patience_s``; return whether it is more than one."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)
    connection.settimeout(patience_s)
    return nbytes > 1


def _has_room(connection: socket.socket) -> bool:
    """Enlarge the kernel's buffer; return whether it is large enough.

    When a read has to wait for a number of bytes, Linux enlarges the buffer for them, up to ``tcp_rmem``, and keeps it
    so; SO_RCVBUF is limited by ``rmem_max``, which is less than two frames by default.
    """
    if (least := getattr(socket, "SO_RCVLOWAT", None)) is None:
        return False
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, least, _KERNEL_BYTES)
        connection.setsockopt(socket.SOL_SOCKET, least, 1)
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= _KERNEL_BYTES
