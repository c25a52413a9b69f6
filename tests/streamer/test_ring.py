"""The ring keeps order, bounds memory, and makes the writer wait rather than drop."""

import threading
import time
from typing import Any

import numpy as np
from stream_tools import make_header

from ptylive.schema import FrameBatch
from ptylive.streamer.events import ArmEvent
from ptylive.streamer.ring import Ring


def batch(number: int, nbytes: int = 1000) -> FrameBatch:
    return FrameBatch("u", np.array([number]), np.zeros((1, nbytes), np.uint8))


def numbers(items: list[Any]) -> list[int]:
    return [int(item.index[0]) for item in items if isinstance(item, FrameBatch)]


def test_every_reader_sees_everything_in_order() -> None:
    ring = Ring(4000)
    seen: list[list[Any]] = [[], []]

    def read(reader: Any, out: list[Any], wait_s: float) -> None:
        for item in reader:
            out.append(item)
            time.sleep(wait_s)

    threads = [threading.Thread(target=read, args=(ring.reader(), out, k * 1e-3)) for k, out in enumerate(seen)]
    for thread in threads:
        thread.start()
    ring.put(ArmEvent(make_header()))
    for k in range(100):
        assert ring.put(batch(k))
    ring.close()
    for thread in threads:
        thread.join(60)
    for out in seen:
        assert isinstance(out[0], ArmEvent)
        assert numbers(out) == list(range(100))


def test_a_full_ring_makes_the_writer_wait() -> None:
    ring = Ring(3000)
    reader = ring.reader()
    for k in range(3):
        ring.put(batch(k))
    assert ring.fill == 1.0
    done = threading.Event()
    writer = threading.Thread(target=lambda: (ring.put(batch(3)), done.set()))
    writer.start()
    assert not done.wait(0.1)
    assert numbers([reader.take()]) == [0]
    assert not done.wait(0.1), "the item being worked on still counts"
    assert numbers([reader.take()]) == [1]
    assert done.wait(60)
    writer.join()


def test_closing_lets_a_waiting_writer_go() -> None:
    ring = Ring(1000)
    reader = ring.reader()
    ring.put(batch(0))
    results: list[bool] = []
    writer = threading.Thread(target=lambda: results.append(ring.put(batch(1))))
    writer.start()
    ring.close()
    writer.join(60)
    assert results == [False]
    assert numbers(list(reader)) == [0]
    assert reader.finished


def test_without_readers_nothing_is_kept_and_nobody_waits() -> None:
    ring = Ring(1000)
    for k in range(10):
        assert ring.put(batch(k))
    assert ring.fill == 0.0


def test_a_reader_that_leaves_is_not_waited_for() -> None:
    ring = Ring(1000)
    with ring.reader():
        ring.put(batch(0))
    assert ring.put(batch(1))
    assert ring.fill == 0.0


def test_an_item_larger_than_the_ring_passes_alone() -> None:
    ring = Ring(10)
    reader = ring.reader()
    assert ring.put(batch(0, 1000))
    assert numbers([reader.take()]) == [0]


def test_lag_and_timeout() -> None:
    ring = Ring()
    reader = ring.reader()
    assert reader.take(timeout_s=0.01) is None
    assert ring.lag_s == 0.0
    ring.put(batch(0))
    time.sleep(0.02)
    assert ring.lag_s >= 0.02


def test_a_reader_that_has_left_gets_nothing_more() -> None:
    ring = Ring(100)
    reader = ring.reader()
    ring._forget(reader._number)
    assert reader.take(0.0) is None
    assert reader.ring_fill == 0.0


def test_frames_are_read_once_no_reader_holds_any() -> None:
    ring = Ring()
    assert ring.frames_are_read(0.0)
    with ring.reader() as reader:
        ring.put(batch(0))
        ring.put(ArmEvent(make_header(), resumed=False))
        assert not ring.frames_are_read(0.0)
        reader.take()
        assert not ring.frames_are_read(0.0), "it is in the reader's hands"
        reader.take()
        assert ring.frames_are_read(0.0), "what was announced is no frame"
