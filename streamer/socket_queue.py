"""The queue of messages inside the data socket: long for small messages, shortened where large ones would fill memory.

libzmq applies a new length (ZMQ_RCVHWM) to open connections by a command to the other end of each pipe. Where a
connection has been lost, that end may have been freed while ours still stands in the socket's list, and libzmq 4.3
then writes into freed memory (seen: a segmentation fault of the I/O thread, once in a hundred scans with a damaged
connection). Our end acknowledges the loss when the socket processes its commands, the other end answers and is freed,
and ours goes when the socket processes commands again. A loss is reported to the socket's monitor before our end is
told of it. So the length changes only when the commands have been processed twice, a second apart, after the last
loss that the monitor knows of.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import zmq

MOST_QUEUED, LEAST_QUEUED = 8192, 32
QUEUE_BYTES = 32 * 2**20
SETTLED_S = 1.0
"""How long libzmq's I/O thread is given to answer; it needs microseconds."""
_PROCESSED = 2
_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_EVENT = struct.Struct("=Hi")
"""What the monitor tells: the event, and the connection's file descriptor."""


class SocketQueue:
    """Bounds what waits in a socket in bytes; for the one thread that uses the socket."""

    def __init__(
        self, socket: zmq.Socket[bytes], longest: int = MOST_QUEUED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Before the socket is bound or connected: its queue takes ``longest`` messages."""
        self._socket = socket
        self._clock = clock
        self.longest = longest
        socket.setsockopt(zmq.RCVHWM, longest)
        self._monitor = socket.get_monitor_socket(_LOST | zmq.EVENT_ACCEPTED)
        self.accepted: Callable[[int], None] = _nothing
        self.lost: Callable[[int], None] = _nothing
        """Told of connections made and lost, by their file descriptors, when :meth:`look` or :meth:`tick` is called."""
        self._looked_at = self._step_at = clock()
        self._steps = _PROCESSED

    def bound(self, nbytes: float) -> bool:
        """Shorten the queue where messages of this size would overfill it; whether its length fits now.

        One large message among small ones must not: a queue shortened while it is full can stall for seconds. It is
        never lengthened again, which can stall a connection that is held back: its writer is told of room only after
        as many messages as the new queue suggests (seen: 1119 of 150000 messages).
        """
        if nbytes * self.longest <= 2 * QUEUE_BYTES or self.longest <= LEAST_QUEUED:
            return True
        if not self._may_change():
            return False
        self.longest = max(LEAST_QUEUED, int(QUEUE_BYTES / nbytes))
        self._socket.setsockopt(zmq.RCVHWM, self.longest)
        return True

    def tick(self) -> None:
        """Now and then: a monitor that nobody reads would hold up libzmq after 2000 lost connections."""
        if self._clock() - self._looked_at >= SETTLED_S:
            self._take_losses()

    def look(self) -> None:
        """Take note of connections made and lost until now."""
        self._take_losses()

    def close(self) -> None:
        """Stop listening for lost connections."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _may_change(self) -> bool:
        """Whether both ends of every connection that our end can know to be lost are gone."""
        self._socket.getsockopt(zmq.EVENTS)  # processes commands
        if not self._take_losses() and self._steps < _PROCESSED and self._looked_at - self._step_at >= SETTLED_S:
            self._steps, self._step_at = self._steps + 1, self._looked_at
        return self._steps == _PROCESSED

    def _take_losses(self) -> bool:
        """What the monitor has to say; whether a connection was lost."""
        self._looked_at, lost = self._clock(), False
        while self._monitor.poll(0):
            event, handle = _EVENT.unpack(self._monitor.recv_multipart()[0][: _EVENT.size])
            (self.lost if event & _LOST else self.accepted)(handle)
            lost |= bool(event & _LOST)
        if lost:
            self._steps, self._step_at = 0, self._looked_at
        return lost


def _nothing(_handle: int) -> None:
    """Nobody wants to know."""
