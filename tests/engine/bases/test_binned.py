"""Bins are squares of pixels, as small as their number allows, wherever the beam lies between pixels."""

import numpy as np
import pytest

from ptylive.engine.bases.binned import BinnedPixels
from ptylive.engine.geometry import DetectorGrid

SHAPE, RADIUS = (64, 60), 12.5


def binned(center, most, transform="none", pixel=1.0):
    grid = DetectorGrid.of(SHAPE, center, transform, pixel)
    return BinnedPixels.of(grid, RADIUS * pixel, np.zeros(SHAPE, dtype=bool), most)


@pytest.mark.parametrize("pixel", [1.0, 0.0476])
@pytest.mark.parametrize("transform", ["none", "flip_rows", "transpose+flip_cols"])
@pytest.mark.parametrize("center", [(31.5, 29.5), (31.499, 29.5), (31.25, 29.75), (31.0, 29.0), (-0.5, 29.5)])
def test_where_there_is_room_each_pixel_is_a_bin(center, transform, pixel):
    """This includes a beam exactly between pixels, as in the middle of a detector with an even number of them."""
    made = binned(center, 10**6, transform, pixel)
    inside = (made.bin_of >= 0).sum()
    assert (made.width, made.count) == (1, inside)
    assert inside > 200
    assert (made.pixels_per_bin == 1).all()


@pytest.mark.parametrize("center", [(31.5, 29.5), (31.2, 29.9)])
@pytest.mark.parametrize("most", [64, 100, 200])
def test_bins_are_squares_of_their_width(center, most):
    made = binned(center, most)
    assert 0.3 * most < made.count <= most
    full = 0
    for number in range(made.count):
        rows, columns = np.nonzero(made.bin_of == number)
        assert max(np.ptp(rows), np.ptp(columns)) < made.width
        full += len(rows) == made.width**2
    assert full > 0.3 * made.count, "those that the edge of the disc does not cut"


def test_a_bin_whose_mean_swings_below_nothing_is_as_noisy_as_its_neighbours():
    """A negative mean occurs at the edge of a disc moved by the shift theorem; its bin must not outweigh all others."""
    made = binned((31.5, 29.5), 10**6)
    mean = np.full(made.count, 100.0)
    np.testing.assert_array_equal(made.variance(mean), mean)
    mean[[0, 5]] = -3.0, 1e-4
    variance = made.variance(mean)
    assert variance[[0, 5]].min() > 1
    np.testing.assert_array_equal(np.delete(variance, [0, 5]), np.delete(mean, [0, 5]))
    transfer = np.ones((made.count, 2), np.complex64)
    assert np.abs(made.per_noise(mean)(transfer)).max() < 1
