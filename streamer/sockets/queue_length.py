"""The queue of messages inside the data socket: long for small messages, shortened where large ones would fill memory.

libzmq applies a new length (ZMQ_RCVHWM) to open connections by a command to the other end of each pipe. Where a
connection has been lost, that end may have been freed while our end is still in the socket's list, and libzmq 4.3 then
writes into freed memory (seen: a segmentation fault of the I/O thread, once in a hundred scans with a damaged
connection). Our end acknowledges the loss when all messages from that connection have been taken, which may be long
after; the other end answers and is freed, and ours goes when the socket processes commands again. A loss is reported to
the socket's monitor before our end is notified. The length is therefore changed only when, a second or more after the
last loss known to the monitor, the socket has been found empty, and its commands have been processed once more another
second later. A socket that is never found empty has taken all messages of a lost connection when it has taken as many
as all connections together can hold: it serves them in turn.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import zmq

from ptylive.streamer.sockets.connection import EVENTS, Connection

MOST_QUEUED, LEAST_QUEUED = 8192, 32
QUEUE_BYTES = 32 * 2**20
SETTLED_S = 1.0
"""Time given to libzmq's I/O thread to answer; it needs microseconds."""
_DRAINED, _SETTLED = 1, 2
"""Steps after a loss: messages of the lost connections have been taken, and both ends of them are gone."""
_ROUNDS = 2
"""Turns of all connections to wait for, in lengths of the queue; one would suffice if none were added or lost."""
_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_EVENT = struct.Struct("=Hi")
"""Contents of a monitor message: the event, and the connection's file descriptor."""


class SocketQueue:
    """Bounds the bytes that wait in a socket; for the one thread that uses the socket."""

    def __init__(
        self, socket: zmq.Socket[bytes], longest: int = MOST_QUEUED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Call before the socket is bound or connected: its queue holds ``longest`` messages."""
        self._socket = socket
        self._clock = clock
        self.longest = longest
        socket.setsockopt(zmq.RCVHWM, longest)
        self._monitor = socket.get_monitor_socket(_LOST | zmq.EVENT_ACCEPTED | EVENTS)
        self.accepted: Callable[[int], None] = _ignore
        self.lost: Callable[[int], None] = _ignore
        """Called for connections made and lost, with their file descriptors, during :meth:`look` or :meth:`tick`."""
        self.connection = Connection(socket, None)
        """Notified of both, too; for a socket that connects, one that reconnects."""
        self._looked_at = self._step_at = clock()
        self._step = _SETTLED
        self._open = self._going = 0
        """Number of connections, and of those lost whose ends are not yet known to be gone."""
        self._turns = 0.0
        """Least number of turns that each connection has had since the last loss."""

    def bound(self, nbytes: float, messages: int = 1) -> bool:
        """Shorten the queue where messages of this size would overfill it; return whether its length is suitable now.

        ``messages``: number taken since the last call. One large message among small ones must not shorten the queue: a
        queue shortened while it is full can stall for seconds. The queue is never lengthened again, which can stall a
        connection that is held back: its writer is told of room only after as many messages as the new queue suggests
        (seen: 1119 of 150000 messages).
        """
        self._turns += messages / max(1, self._open + self._going)
        if nbytes * self.longest <= 2 * QUEUE_BYTES or self.longest <= LEAST_QUEUED:
            return True
        if not self._may_change():
            return False
        self.longest = max(LEAST_QUEUED, int(QUEUE_BYTES / nbytes))
        self._socket.setsockopt(zmq.RCVHWM, self.longest)
        return True

    def tick(self) -> None:
        """Call periodically: an unread monitor would hold up libzmq after 2000 lost connections.

        Between scans the socket is empty, and lost connections are cleared: the first large message of the next scan
        shortens the queue at once.
        """
        if self._clock() - self._looked_at >= SETTLED_S:
            self._may_change()

    def look(self) -> None:
        """Process connections made and lost until now."""
        self._take_losses()

    def close(self) -> None:
        """Stop listening for lost connections."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)

    def _may_change(self) -> bool:
        """Whether both ends of every connection that our end can know to be lost are gone."""
        waiting = int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN  # processes commands, looks at every connection
        if self._take_losses() or self._step == _SETTLED or self._looked_at - self._step_at < SETTLED_S:
            return self._step == _SETTLED
        if self._step == _DRAINED:
            self._step, self._going = _SETTLED, 0
        elif not waiting or self._turns >= _ROUNDS * self.longest:
            self._step, self._step_at = _DRAINED, self._looked_at
        return self._step == _SETTLED

    def _take_losses(self) -> bool:
        """Process the monitor's messages; return whether a connection was lost."""
        self._looked_at, lost = self._clock(), 0
        while self._monitor.poll(0):
            event, handle = _EVENT.unpack(self._monitor.recv_multipart()[0][: _EVENT.size])
            self.connection.note(event)
            if event & _LOST:
                self.lost(handle)
                lost += 1
            elif event == zmq.EVENT_ACCEPTED:
                self.accepted(handle)
                self._open += 1
        self.connection.mend()
        if lost:
            self._open, self._going = max(0, self._open - lost), self._going + lost
            self._step, self._step_at, self._turns = 0, self._looked_at, 0.0
        return lost > 0


def _ignore(_handle: int) -> None:
    """Ignore the event."""
