"""The queue of messages inside the data socket: long for small messages, shortened where large ones would fill memory.

libzmq applies a new length (ZMQ_RCVHWM) to open connections by a command to the other end of each pipe. Where a
connection has just been lost, that end may have been freed already while ours still stands in the socket's list, and
libzmq 4.3 then writes into freed memory (seen: a segmentation fault of the I/O thread, one scan in a hundred with a
damaged connection). So the length changes only while no connection has been lost for a while. A loss is reported
to the socket's monitor before its pipe is told of it: whatever our end can have learned by the last command that it
processed, the monitor tells us now.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

MOST_QUEUED, LEAST_QUEUED = 8192, 32
QUEUE_BYTES = 32 * 2**20
SETTLED_S = 1.0
"""After a connection was lost: until both ends of its pipe are surely gone (libzmq needs microseconds)."""
_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED


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
        self._monitor = socket.get_monitor_socket(_LOST)
        self._looked_at = clock()
        self._lost_at = self._looked_at - SETTLED_S

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

    def close(self) -> None:
        """Stop listening for lost connections."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _may_change(self) -> bool:
        """Whether every connection that our end of a pipe can know to be lost was lost long enough ago."""
        self._socket.getsockopt(zmq.EVENTS)  # our ends of lost connections learn of it and are taken off the list
        self._take_losses()
        return self._clock() - self._lost_at >= SETTLED_S

    def _take_losses(self) -> None:
        self._looked_at = self._clock()
        while self._monitor.poll(0):
            self._monitor.recv_multipart()
            self._lost_at = self._looked_at
