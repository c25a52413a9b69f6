"""The length of the data socket's queue changes only while libzmq can survive it."""

import struct
import subprocess
import sys
from typing import Any, cast

import pytest
import zmq

from ptylive.streamer.socket_queue import LEAST_QUEUED, MOST_QUEUED, QUEUE_BYTES, SETTLED_S, SocketQueue

LARGE = 2 * QUEUE_BYTES / MOST_QUEUED + 1
"""Bytes of a message of which the longest queue holds too many."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Monitor:
    lost = 0

    def poll(self, timeout_ms: int) -> int:
        return self.lost

    def recv_multipart(self) -> list[bytes]:
        self.lost -= 1
        return [struct.pack("=Hi", zmq.EVENT_DISCONNECTED, 7), b""]


class Socket:
    """What the queue does with a socket; a real one crashes where the queue is wrong."""

    def __init__(self) -> None:
        self.monitor, self.length, self.processed = Monitor(), 0, 0

    def setsockopt(self, option: int, value: int) -> None:
        assert option == zmq.RCVHWM
        self.length = value

    def getsockopt(self, option: int) -> int:
        assert option == zmq.EVENTS
        self.processed += 1
        return 0

    def get_monitor_socket(self, events: int) -> Monitor:
        assert events & zmq.EVENT_DISCONNECTED
        return self.monitor


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def socket() -> Socket:
    return Socket()


@pytest.fixture
def queue(socket: Socket, clock: Clock) -> SocketQueue:
    return SocketQueue(cast(Any, socket), clock=clock)


def test_small_messages_keep_the_long_queue(socket: Socket, queue: SocketQueue) -> None:
    assert queue.bound(LARGE - 2)
    assert socket.length == queue.longest == MOST_QUEUED


def test_large_messages_shorten_it(socket: Socket, queue: SocketQueue) -> None:
    assert queue.bound(1 << 20)
    assert socket.length == queue.longest == 32
    assert queue.bound(1 << 30)
    assert queue.longest == LEAST_QUEUED


def test_after_a_lost_connection_it_waits_until_both_ends_are_gone(socket, queue, clock) -> None:
    socket.monitor.lost = 1
    assert not queue.bound(LARGE)
    clock.now += SETTLED_S / 2
    assert not queue.bound(LARGE)
    clock.now += SETTLED_S / 2
    assert not queue.bound(LARGE), "our end may have learnt of it only now"
    assert socket.length == MOST_QUEUED
    clock.now += SETTLED_S
    processed = socket.processed
    assert queue.bound(LARGE)
    assert socket.processed > processed
    assert socket.length == queue.longest < MOST_QUEUED


def test_every_loss_begins_it_anew(socket, queue, clock) -> None:
    for _ in range(5):
        socket.monitor.lost = 2
        assert not queue.bound(LARGE)
        clock.now += SETTLED_S
        assert not queue.bound(LARGE)
        clock.now += SETTLED_S
    assert queue.bound(LARGE)


def test_losses_are_taken_in_now_and_then(socket, queue, clock) -> None:
    socket.monitor.lost = 3
    queue.tick()
    assert socket.monitor.lost == 3, "not at every turn of the loop"
    clock.now += SETTLED_S
    queue.tick()
    assert socket.monitor.lost == 0
    assert not queue.bound(LARGE)


def test_a_real_socket(tmp_path) -> None:
    with zmq.Context() as context:
        real = context.socket(zmq.PULL)
        queue = SocketQueue(real)
        assert queue.bound(1 << 20)
        assert real.getsockopt(zmq.RCVHWM) == 32
        address = f"inproc://{tmp_path.name}"
        real.bind(address)
        client = context.socket(zmq.PUSH)
        client.connect(address)
        client.send(b"here")
        assert real.recv() == b"here"
        queue.close()
        context.destroy(linger=0)


COMING_AND_GOING = """
import sys, threading, time, zmq
from ptylive.streamer.socket_queue import SocketQueue
guarded = sys.argv[1] == "guarded"
context = zmq.Context()
socket = context.socket(zmq.PULL)
queue = SocketQueue(socket)
socket.setsockopt(zmq.RCVTIMEO, 10)
address = f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
stop = time.monotonic() + 5

def come_and_go():
    other = zmq.Context()
    while time.monotonic() < stop:
        client = other.socket(zmq.PUSH)
        client.connect(address)
        client.send(b"x" * 1000)
        client.close(linger=100)
        time.sleep(0.001)
    other.destroy(linger=0)

threads = [threading.Thread(target=come_and_go) for _ in range(3)]
for thread in threads:
    thread.start()
while time.monotonic() < stop:
    try:
        socket.recv()
    except zmq.Again:
        pass
    if guarded:
        queue.longest = 8192
        queue.bound(1e5)
    else:
        socket.setsockopt(zmq.RCVHWM, 8000)
for thread in threads:
    thread.join()
print("alive")
"""


@pytest.mark.slow
def test_connections_that_come_and_go() -> None:
    """Unguarded, libzmq 4.3.5 crashes within a second or two."""
    done = subprocess.run([sys.executable, "-c", COMING_AND_GOING, "guarded"], capture_output=True, text=True)
    assert done.returncode == 0 and "alive" in done.stdout, done.stderr
