"""The length of the data socket's queue changes only while libzmq can survive it."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import zmq

from ptylive.streamer.socket_queue import LEAST_QUEUED, MOST_QUEUED, QUEUE_BYTES, SETTLED_S, SocketQueue

LARGE = 2 * QUEUE_BYTES / MOST_QUEUED + 1
"""Bytes of a message of which the longest queue holds too many."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def socket() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context:
        made = context.socket(zmq.PULL)
        made.setsockopt(zmq.RCVTIMEO, 20_000)
        yield made
        context.destroy(linger=0)


def connected(socket: zmq.Socket[bytes], address: str) -> zmq.Socket[bytes]:
    client = socket.context.socket(zmq.PUSH)
    client.connect(address)
    client.send(b"here")
    assert socket.recv() == b"here"
    return client


def until_lost(queue: SocketQueue) -> None:
    give_up = time.monotonic() + 20
    while queue._monitor.poll(100) == 0:
        assert time.monotonic() < give_up


def test_small_messages_keep_the_long_queue(socket: zmq.Socket[bytes]) -> None:
    queue = SocketQueue(socket)
    assert queue.bound(LARGE - 2)
    assert socket.getsockopt(zmq.RCVHWM) == queue.longest == MOST_QUEUED


def test_large_messages_shorten_it(socket: zmq.Socket[bytes]) -> None:
    queue = SocketQueue(socket)
    assert queue.bound(1 << 20)
    assert socket.getsockopt(zmq.RCVHWM) == queue.longest == 32
    assert queue.bound(1 << 30)
    assert queue.longest == LEAST_QUEUED


def test_after_a_lost_connection_it_waits(socket: zmq.Socket[bytes]) -> None:
    clock = Clock()
    queue = SocketQueue(socket, clock=clock)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    address = f"tcp://127.0.0.1:{port}"
    staying, going = connected(socket, address), connected(socket, address)
    going.close(linger=0)
    until_lost(queue)
    assert not queue.bound(LARGE)
    assert socket.getsockopt(zmq.RCVHWM) == MOST_QUEUED
    clock.now += SETTLED_S
    assert queue.bound(LARGE)
    assert socket.getsockopt(zmq.RCVHWM) == queue.longest < MOST_QUEUED
    staying.send(b"still here")
    assert socket.recv() == b"still here"
    queue.close()


def test_losses_are_taken_in_now_and_then(socket: zmq.Socket[bytes]) -> None:
    clock = Clock()
    queue = SocketQueue(socket, clock=clock)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    connected(socket, f"tcp://127.0.0.1:{port}").close(linger=0)
    until_lost(queue)
    queue.tick()
    assert queue._monitor.poll(0), "not at every turn of the loop"
    clock.now += SETTLED_S
    queue.tick()
    assert not queue._monitor.poll(0)


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
size = 10_000.0
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
