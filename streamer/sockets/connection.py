"""A connection that outlasts strangers at its address.

While a program is away, another may be given its address. Where that one's socket is of a type that does not fit ours,
or speaks no ZMTP, libzmq ends the handshake and, in some of these cases, never connects to the address again. The
socket's monitor shows it: a connection was lost that had never been agreed on.
"""

from __future__ import annotations

import time
from contextlib import suppress

import zmq
from zmq.utils.monitor import recv_monitor_message

EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
"""What has to be heard from the socket's monitor."""
_PAUSE_S = 0.1


class Connection:
    """The connections of one socket that were agreed on, by what its monitor tells; for the socket's own thread.

    ``address``: what the socket has connected to; None for one that others connect to. ``had_peers``: whether there
    was ever one, also where it came and went between two looks.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str | None) -> None:
        self._socket = socket
        self._address = address
        self._broken_off = False
        self.peers = 0
        self.had_peers = False

    def note(self, event: int) -> None:
        """Something that the socket's monitor has told."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            # a connection given up while it was agreed on is not reported as lost: of one's own there is only one
            self.peers = 1 if self._address is not None else self.peers + 1
            self._broken_off, self.had_peers = False, True
        elif event == zmq.EVENT_DISCONNECTED:
            self._broken_off = not self.peers
            self.peers = max(0, self.peers - 1)

    def mend(self) -> None:
        """Connect again where a stranger has broken the connection off; takes a moment, for it may still be there.

        What was queued for the stranger is dropped: where libzmq never connects again it would wait for ever, and the
        end of the context with it, whatever the socket is closed with.
        """
        if self._broken_off and self._address is not None:
            self._broken_off = False
            linger_ms = self._socket.getsockopt(zmq.LINGER)
            self._socket.setsockopt(zmq.LINGER, 0)
            with suppress(zmq.ZMQError):  # given up already
                self._socket.disconnect(self._address)
            self._socket.setsockopt(zmq.LINGER, linger_ms)
            time.sleep(_PAUSE_S)
            self._socket.connect(self._address)


class WatchedConnection(Connection):
    """The same with a monitor of its own, made before the socket connects; `look` now and then."""

    def __init__(self, socket: zmq.Socket[bytes], address: str | None) -> None:
        super().__init__(socket, address)
        self._monitor = socket.get_monitor_socket(EVENTS)

    def look(self) -> bool:
        """Take note of connections made and lost; whether there are more or fewer than before."""
        changed = False
        while self._monitor.poll(0):
            before = self.peers
            self.note(int(recv_monitor_message(self._monitor)["event"]))
            changed |= self.peers != before  # a server that refuses our key breaks off again and again
        self.mend()
        return changed

    def close(self) -> None:
        """Stop listening, before the socket is closed."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
