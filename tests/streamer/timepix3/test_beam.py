"""A time without hits tells something if many were expected."""

import numpy as np
import pytest

from ptylive.streamer.timepix3.beam import Beam


@pytest.mark.parametrize(("each", "off"), [(10, True), (1000, False)])
def test_the_beam_is_off_where_nearly_all_hits_are_missing(each: int, off: bool) -> None:
    beam = Beam()
    beam.note(np.arange(0, 1000, each), 0, 1000)
    assert beam.is_off(np.array([1000]), 0, 1000, 2000) == off, "one hit of a hundred, or of one"
    assert not beam.is_off(np.arange(1000, 2000, 2 * each), 0, 1000, 2000)
    assert not beam.is_off(np.zeros(0, int), 0, 1000, 1000), "no time has passed"


def test_hits_that_wait_give_the_rate_as_well() -> None:
    assert Beam().is_off(np.arange(500, 1000, 10)[::-1], 500, 1000, 2000)
    assert not Beam().is_off(np.zeros(0, int), 500, 500, 2000), "nothing is known of the rate"


@pytest.mark.parametrize("gap", [(400, 700), (700, 1000)])
def test_the_longest_time_without_hits(gap: tuple[int, int]) -> None:
    beam, times = Beam(), np.arange(0, 1000, 5)
    times = times[(times < gap[0]) | (times >= gap[1])]
    for begin in range(0, 1000, 100):
        beam.note(np.flip(times[(times >= begin) & (times < begin + 100)]), begin, begin + 100)
    assert beam.longest_off() == pytest.approx(300, abs=5)
    few = Beam()
    few.note(np.array([0, 900]), 0, 1000)
    assert few.longest_off() == 0
