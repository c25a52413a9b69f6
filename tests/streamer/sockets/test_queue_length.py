"""The length of the data socket's queue changes only at times when libzmq can survive it."""

import struct
import subprocess
import sys
from typing import Any, cast

import pytest
import zmq

from ptylive.streamer.sockets.queue_length import LEAST_QUEUED, MOST_QUEUED, QUEUE_BYTES, SETTLED_S, SocketQueue

LARGE = 2 * QUEUE_BYTES / MOST_QUEUED + 1
"""Size in bytes of messages of which the longest queue would hold too many."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Monitor:
    lost = accepted = 0

    def poll(self, timeout_ms: int) -> int:
        return self.accepted + self.lost

    def recv_multipart(self) -> list[bytes]:
        if self.accepted:
            self.accepted -= 1
            return [struct.pack("=Hi", zmq.EVENT_ACCEPTED, 7), b""]
        self.lost -= 1
        return [struct.pack("=Hi", zmq.EVENT_DISCONNECTED, 7), b""]


class Socket:
    """What the queue does to a socket; a real socket would crash if the queue were wrong."""

    def __init__(self) -> None:
        self.monitor, self.length, self.processed, self.waiting = Monitor(), 0, 0, False

    def setsockopt(self, option: int, value: int) -> None:
        assert option == zmq.RCVHWM
        self.length = value

    def getsockopt(self, option: int) -> int:
        assert option == zmq.EVENTS
        self.processed += 1
        return zmq.POLLIN if self.waiting else 0

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


def test_what_a_lost_connection_brought_is_taken_first(socket, queue, clock) -> None:
    socket.monitor.lost, socket.waiting = 1, True
    for _ in range(10):
        assert not queue.bound(LARGE)
        clock.now += 2 * SETTLED_S
    socket.waiting = False
    assert not queue.bound(LARGE), "its end is told only now"
    socket.waiting = True  # others continue
    clock.now += SETTLED_S / 2
    assert not queue.bound(LARGE)
    clock.now += SETTLED_S
    assert queue.bound(LARGE)


def test_a_socket_that_is_never_empty_has_taken_it_after_two_turns_of_all(socket, queue, clock) -> None:
    socket.monitor.accepted, socket.waiting = 3, True
    queue.look()
    socket.monitor.lost = 1
    assert not queue.bound(LARGE)
    clock.now += 2 * SETTLED_S
    turns = 3 * 2 * MOST_QUEUED
    assert not queue.bound(LARGE, turns - 1)
    clock.now += 2 * SETTLED_S
    assert not queue.bound(LARGE, 1), "from now on it is waited"
    clock.now += SETTLED_S
    assert queue.bound(LARGE)


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


def test_between_scans_what_was_lost_goes(socket, queue, clock) -> None:
    socket.monitor.lost = 1
    queue.look()
    for _ in range(2):
        clock.now += SETTLED_S
        queue.tick()
    socket.waiting = True
    assert queue.bound(LARGE)


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
from ptylive.streamer.sockets.queue_length import SocketQueue
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


GONE_BEFORE_IT_WAS_HEARD = """
import time, zmq
from ptylive.streamer.sockets.queue_length import SETTLED_S, SocketQueue
now = [100.0]
for _ in range(5):
    with zmq.Context() as context, zmq.Context() as other:
        socket, client = context.socket(zmq.PULL), other.socket(zmq.PUSH)
        queue = SocketQueue(socket, clock=lambda: now[0])
        client.connect(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
        for _ in range(3):
            client.send(b"x" * 50000)
        socket.poll()
        client.close(linger=1000)
        other.term()
        lost = []
        queue.lost = lost.append
        while not lost:
            queue.look()
        now[0] += 2 * SETTLED_S
        queue.bound(1e5)
        for _ in range(3):
            socket.recv()
        now[0] += 2 * SETTLED_S
        queue.bound(1e5)
        time.sleep(0.02)
        queue.close()
        socket.close(linger=0)
print("alive")
"""


def test_a_connection_that_went_before_all_of_it_was_taken() -> None:
    """libzmq frees its other end once the last message has been taken: the queue must not change then."""
    done = subprocess.run([sys.executable, "-c", GONE_BEFORE_IT_WAS_HEARD], capture_output=True, text=True)
    assert done.returncode == 0 and "alive" in done.stdout, done.stderr


@pytest.mark.slow
def test_connections_that_come_and_go() -> None:
    """Without protection, libzmq 4.3.5 crashes within a second or two."""
    done = subprocess.run([sys.executable, "-c", COMING_AND_GOING, "guarded"], capture_output=True, text=True)
    assert done.returncode == 0 and "alive" in done.stdout, done.stderr
