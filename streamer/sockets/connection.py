"""A connection that survives strangers at its address.

While a program is away, another may be given its address. If that program's socket is of a type that does not fit ours,
or does not speak ZMTP, libzmq ends the handshake and, in some of these cases, never connects to the address again. The
socket's monitor shows this: a connection was lost that had never been agreed on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from enum import Enum, auto

import zmq
from zmq.utils.monitor import recv_monitor_message

EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
"""Events needed from the socket's monitor."""
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_OWN_EVENTS = EVENTS | _FAILED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_CONNECTED | zmq.EVENT_CLOSED
"""Events of a socket that connects, from which its `Peer` follows."""
_PAUSE_S = 0.1


class Peer(Enum):
    """Who is at the address that a socket connects to.

    FOREIGN: the connection is accepted, but not agreed on: by another program, a tunnel that leads nowhere, or a server
    with another key, or with keys where we have none. REFUSES: a server that does not know our key.
    """

    NOBODY = auto()
    FOREIGN = auto()
    REFUSES = auto()
    AGREES = auto()


class Connection:
    """The established connections of one socket, counted from its monitor's events; for the socket's own thread.

    ``address``: what the socket has connected to; None for a socket that others connect to. ``had_peers``: whether
    there was ever a peer, even if it came and went between two calls.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str | None) -> None:
        self._socket = socket
        self._address = address
        self._broken_off = False
        self.peers = 0
        self.had_peers = False
        self.peer = Peer.NOBODY

    def note(self, event: int) -> None:
        """Process an event of the socket's monitor."""
        self.peer = _peer_after(event, self.peer)
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            # a connection given up during the handshake is not reported as lost: an own address has only one
            self.peers = 1 if self._address is not None else self.peers + 1
            self._broken_off, self.had_peers = False, True
        elif event == zmq.EVENT_DISCONNECTED:
            self._broken_off = not self.peers
            self.peers = max(0, self.peers - 1)

    def mend(self) -> None:
        """Reconnect where a stranger has broken the connection off; this pauses briefly, as the stranger may still be
        there.

        Messages queued for the stranger are dropped: where libzmq never connects again they would wait for ever, and
        with them the end of the context, whatever linger time the socket is closed with.
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


def _peer_after(event: int, before: Peer) -> Peer:
    """Who is at the other end after an event of the socket's monitor."""
    if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
        return Peer.AGREES
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return Peer.REFUSES
    if event & _FAILED or (event == zmq.EVENT_CONNECTED and before is Peer.NOBODY):
        return Peer.FOREIGN
    ended = event == zmq.EVENT_CLOSED or (event == zmq.EVENT_DISCONNECTED and before is Peer.AGREES)
    return Peer.NOBODY if ended else before


class WatchedConnection(Connection):
    """Connection with its own monitor, made before the socket connects; call `look` periodically."""

    def __init__(self, socket: zmq.Socket[bytes], address: str | None) -> None:
        super().__init__(socket, address)
        self._monitor = socket.get_monitor_socket(_OWN_EVENTS)

    def look(self) -> bool:
        """Process connections made and lost; return whether their number has changed."""
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
