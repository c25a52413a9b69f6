"""Turns of the clock that are skipped."""

import numpy as np
import pytest

from ptylive.streamer.timepix3.packets import Place, Turns
from ptylive.streamer.timepix3.pauses import TURN, later, passed


def turns(*numbers, beats=()):
    """Edges, and heartbeats between them."""
    number = np.array([*numbers, *beats])
    where = np.concatenate([10 * np.arange(len(numbers)), 10 * np.arange(len(beats)) + 5])
    order = np.argsort(where)
    return Turns(where[order], (np.arange(len(number)) >= len(numbers))[order], number[order])


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ((), []),
        ((2,), []),
        ((2, 2, 2, 2), []),
        ((0, 0, 1, 1), [(10, 20, 1)]),
        ((3, 3, 0, 0, 2, 2), [(10, 20, 1), (30, 40, 2)]),
    ],
)
def test_turns_that_change(numbers, found):
    assert later(turns(*numbers)) == found


@pytest.mark.parametrize("numbers", [(0, 0, 3, 0, 0), (1, 0, 0, 0), (0, 0, 0, 2)])
def test_one_that_is_damaged_is_no_pause(numbers):
    assert later(turns(*numbers)) == []


def test_heartbeats_that_begin_to_count_elsewhere_than_edges_are_no_pause():
    assert later(turns(0, 0, 0, 0, beats=(1, 1))) == []
    assert later(turns(0, 0, beats=(1, 1, 2, 2))) == [(15, 25, 1)]


def test_behind_a_pause():
    assert passed(Place(1, 2, 5), 3) == Place(1, 2, 5 + 3 * TURN)
    assert passed(Place(), 1) == Place()
