"""Electrons that light several pixels."""

import numpy as np
import pytest

from ptylive.streamer.timepix3.clusters import electrons


def lit(rng, row, column, time):
    """Hits of one electron: a pixel and some of its neighbours within 100 ticks; the pixel's own is the longest."""
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    some = rng.permutation(8)[: rng.integers(0, 4)]
    hits = [(row, column, time, 500)]
    return hits + [(row + around[k][0], column + around[k][1], time + int(rng.integers(0, 100)), 5) for k in some]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_electron_is_found_once(seed):
    rng = np.random.default_rng(seed)
    times = np.arange(200) * 150  # closer than any two in a real scan, and farther apart than hits that touch
    places = rng.integers(1, 255, (200, 2))
    hits = [hit for (row, column), time in zip(places, times, strict=True) for hit in lit(rng, row, column, int(time))]
    row, column, time, over = np.array(rng.permutation(hits)).T
    found = electrons(row, column, time, over, 100)
    np.testing.assert_array_equal(np.stack(found), [*places.T, times])


def test_two_places_at_once_are_two():
    at = np.array([10, 10, 40, 40]), np.array([10, 11, 40, 41]), np.zeros(4, dtype=np.int64)
    row, column, _ = electrons(*at, np.array([9, 1, 1, 9]), 100)
    assert set(zip(row.tolist(), column.tolist(), strict=True)) == {(10, 10), (40, 41)}


def test_a_chain_of_many_pixels_is_one():
    n = 60
    row, column, time = electrons(np.arange(n), np.arange(n), np.arange(n), np.ones(n), 10)
    assert (row.tolist(), column.tolist(), time.tolist()) == ([30], [30], [0])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_hits_than_two_are_not_clustered(count):
    one = np.arange(count, dtype=np.int64)
    assert [len(part) for part in electrons(one, one, one, one, 5)] == [count] * 3
