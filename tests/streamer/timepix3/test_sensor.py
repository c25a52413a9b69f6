"""Places of the pixels of four chips."""

import numpy as np
import pytest

from ptylive.streamer.timepix3.sensor import GAP_PX, Sensor


def address(chip, row, column):
    return np.array([chip << 16 | row << 8 | column], dtype=np.uint32)


def test_one_chip_is_as_it_is():
    sensor = Sensor(four=False)
    assert sensor.shape == (256, 256)
    assert sensor.pixels(address(0, 3, 5)) == [3 * 256 + 5]
    assert sensor.pixels(address(2, 3, 5)) == [3 * 256 + 5]  # a readout for several chips with only one
    assert not sensor.gap.any()


@pytest.mark.parametrize(
    ("chip", "row", "column"), [(3, 10, 20), (0, 10, 278), (1, 513 - 10, 513 - 20), (2, 513 - 10, 255 - 20)]
)
def test_four_chips_around_a_gap(chip, row, column):
    sensor = Sensor(four=True)
    assert divmod(int(sensor.pixels(address(chip, 10, 20))[0]), sensor.shape[1]) == (row, column)


def test_pixels_and_the_gap_are_all_of_the_detector():
    sensor = Sensor(four=True)
    pixels = sensor.pixels(np.arange(4 * 65536, dtype=np.uint32))
    lit = np.zeros(sensor.shape, dtype=int)
    np.add.at(lit.ravel(), pixels, 1)
    np.testing.assert_array_equal(lit, ~sensor.gap)
    assert sensor.gap.sum() == 2 * GAP_PX * 514 - GAP_PX**2
