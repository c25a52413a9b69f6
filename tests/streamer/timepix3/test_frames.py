"""Events as frames."""

import numpy as np

from ptylive.streamer.timepix3.frames import DetectedEvents, counted
from ptylive.streamer.timepix3.packets import Hits
from ptylive.streamer.timepix3.scan_clock import ScanClock
from ptylive.streamer.timepix3.sensor import Sensor


def test_counts_of_each_pixel():
    events = counted(np.array([7, 3, 7, 1], dtype=np.uint32), np.array([2, 2, 2, 0]), 3, (2, 4))
    assert events.ends.tolist() == [1, 1, 3]
    assert events.pixels.tolist() == [1, 3, 7]
    assert events.counts.tolist() == [1, 1, 2]
    assert len(counted(np.zeros(0, np.uint32), np.zeros(0, np.int64), 2, (2, 4)).ends) == 2


def test_more_counts_than_a_pixel_can_hold_are_as_many_as_it_can():
    events = counted(np.zeros(70_000, np.uint32), np.zeros(70_000, np.int64), 1, (2, 2))
    assert events.counts.tolist() == [65535]


def test_hits_and_electrons():
    clock = ScanClock(np.array([0, 1000]), 2, 100.0, (2, 2))
    hits = Hits(
        np.array([5 << 8 | 5, 5 << 8 | 6, 9 << 8 | 9], dtype=np.uint32),
        np.array([10, 12, 1150]),
        np.array([9, 1, 5], dtype=np.uint16),
    )
    every = DetectedEvents.of(hits, Sensor(four=False), clock, 0)
    assert every.frames.tolist() == [0, 0, 3]
    electrons = DetectedEvents.of(hits, Sensor(four=False), clock, 20)
    assert (electrons.pixels.tolist(), electrons.frames.tolist()) == ([5 * 256 + 5, 9 * 256 + 9], [0, 3])
