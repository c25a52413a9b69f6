"""Packets made from patterns."""

import numpy as np
import pytest

from ptylive.simulators.timepix3_packets import LineTiming, chips_of, line_packets
from ptylive.streamer.timepix3.packets import EDGES, Place, decode
from ptylive.streamer.timepix3.sensor import Sensor


@pytest.mark.parametrize("four", [False, True])
def test_a_line_holds_every_count_while_the_beam_is_there(four):
    rng = np.random.default_rng(1)
    sensor, timing = Sensor(four), LineTiming(160, 320, 1600)
    patterns = rng.poisson(0.002, (6, *sensor.shape))
    patterns[..., sensor.gap] = 0
    words = np.frombuffer(line_packets(patterns, 2, timing, sensor, rng), "<u8")
    packets, place = decode(words, Place())
    assert (packets.lost, place.left) == (0, 0)
    begins = 1600 + 2 * (6 * 160 + 320)
    np.testing.assert_array_equal(packets.edges.times, [begins, begins + 6 * 160])
    assert [EDGES[kind] for kind in packets.edges.kinds.tolist()] == ["1 rise", "1 fall"]
    point = (packets.hits.times - begins) // 160
    lit = np.zeros(patterns.shape, dtype=int).reshape(6, -1)
    np.add.at(lit, (point, sensor.pixels(packets.hits.address)), 1)
    np.testing.assert_array_equal(lit.reshape(patterns.shape), patterns)


def test_pixels_have_chips():
    sensor = Sensor(four=True)
    chip, row, column = chips_of(sensor, np.array([0, 513, 514 * 514 - 1, 514 * 513]))
    assert (chip.tolist(), row.tolist(), column.tolist()) == ([3, 0, 1, 2], [0, 0, 0, 0], [0, 255, 0, 255])
