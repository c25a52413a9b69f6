"""A connecting socket gets through to its own kind again, whatever was at the address meanwhile."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
import zmq
from addresses import bind_when_free
from dectris_tools import patterns, v1_end, v1_header, v1_image
from stream_tools import running

from ptylive.schema.metadata import overlay
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.sockets.connection import Connection, WatchedConnection

STRANGERS = [zmq.PUB, zmq.REP, zmq.PAIR, zmq.STREAM]
KINDS = [(zmq.PUSH, zmq.PULL), (zmq.SUB, zmq.PUB), (zmq.PULL, zmq.PUSH)]


@contextmanager
def ended_at_once() -> Iterator[zmq.Context[Any]]:
    """A context that does not wait for unsent messages, whatever has failed."""
    context: zmq.Context[Any] = zmq.Context()
    try:
        yield context
    finally:
        context.destroy(linger=0)


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("own", "peer"), KINDS, ids=lambda kind: kind.name)
def test_a_stranger_at_the_address_does_not_keep_the_peer_away(
    own: zmq.SocketType, peer: zmq.SocketType, stranger: zmq.SocketType
) -> None:
    if (own, stranger) == (zmq.SUB, zmq.PUB):
        pytest.skip("one of its own kind")
    with ended_at_once() as context:
        socket = context.socket(own)
        if own == zmq.SUB:
            socket.subscribe(b"")
        with context.socket(stranger) as other:
            address = f"tcp://127.0.0.1:{other.bind_to_random_port('tcp://127.0.0.1')}"
            connection = WatchedConnection(socket, address)
            socket.connect(address)
            for _ in range(5):
                connection.look()
                time.sleep(0.05)
            assert connection.peers == 0 or stranger == zmq.STREAM
        with context.socket(peer) as server:
            bind_when_free(server, address)
            sends, takes = (socket, server) if own == zmq.PUSH else (server, socket)
            give_up = time.monotonic() + 60
            while time.monotonic() < give_up:
                connection.look()
                with suppress(zmq.Again):
                    sends.send(b"hello", zmq.NOBLOCK)
                if takes.poll(50):
                    break
            assert takes.recv(zmq.NOBLOCK) == b"hello"
            while connection.peers != 1 and time.monotonic() < give_up:  # its monitor may report it a moment later
                connection.look()
                time.sleep(0.01)
            assert connection.peers == 1
            connection.close()
            socket.close(linger=0)


class Heard(WatchedConnection):
    lost = False

    def note(self, event: int) -> None:
        self.lost |= event == zmq.EVENT_DISCONNECTED
        super().note(event)


def test_what_was_queued_for_a_stranger_does_not_hold_up_the_end() -> None:
    """A message for a raw TCP socket that disappears: libzmq would keep it for a connection that it never restores."""
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.PUSH)
    with context.socket(zmq.STREAM) as other:
        address = f"tcp://127.0.0.1:{other.bind_to_random_port('tcp://127.0.0.1')}"
        connection = Heard(socket, address)
        socket.connect(address)
        socket.send(b"hello")
        assert other.poll(60_000)  # it has received a greeting, so they are connected
    give_up = time.monotonic() + 60
    while not connection.lost and time.monotonic() < give_up:
        connection.look()
        time.sleep(0.01)
    assert connection.lost
    connection.close()
    socket.close(linger=0)
    end = Thread(target=context.term, daemon=True)  # not joined if it hangs
    end.start()
    end.join(60)
    assert not end.is_alive()


class Socket:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def connect(self, address: str) -> None:
        self.calls.append("connect")

    def disconnect(self, address: str) -> None:
        self.calls.append("disconnect")

    def getsockopt(self, option: int) -> int:
        return -1

    def setsockopt(self, option: int, value: int) -> None:
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9999", None])
def test_a_peer_that_goes_and_comes_is_left_to_libzmq(address: str | None) -> None:
    socket = Socket()
    connection = Connection(cast(Any, socket), address)
    for event, peers in [(zmq.EVENT_HANDSHAKE_SUCCEEDED, 1), (zmq.EVENT_DISCONNECTED, 0)] * 2:
        connection.note(event)
        connection.mend()
        assert connection.peers == peers
    assert not socket.calls
    for _ in range(2):
        connection.note(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    assert connection.peers == (2 if address is None else 1)
    for _ in range(connection.peers + 1):
        connection.note(zmq.EVENT_DISCONNECTED)
    connection.mend()
    connection.mend()
    assert socket.calls == ([] if address is None else ["disconnect", "connect"])


def test_a_detector_is_heard_after_another_program_had_its_address(tmp_path: Path) -> None:
    """The detector is switched on after the server; until then another program has its address."""
    images = patterns(12)
    spoken = ProtocolSettings("dectris-v1", lambda header: overlay(header, {"scan_shape": (3, 4)}))
    with zmq.Context() as context, context.socket(zmq.SUB) as stranger:
        address = f"tcp://127.0.0.1:{stranger.bind_to_random_port('tcp://127.0.0.1')}"
        with running(tmp_path, data=address, protocol=spoken) as run, context.socket(zmq.PUSH) as detector:
            detector.setsockopt(zmq.IMMEDIATE, 1)
            time.sleep(0.5)
            stranger.close()
            bind_when_free(detector, address)
            assert detector.poll(60_000, zmq.POLLOUT)
            for message in [
                v1_header(1, 12, (16, 12)),
                *(v1_image(1, number, image) for number, image in enumerate(images)),
                v1_end(1),
            ]:
                detector.send_multipart(message)
            run.wait_for_state("complete")
            assert run.receiver.status().received == 12
