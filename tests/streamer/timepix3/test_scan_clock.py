"""The frame to which a time belongs."""

import numpy as np
import pytest

from ptylive.schema import InputFileError, Scan
from ptylive.streamer.timepix3.packets import Edges
from ptylive.streamer.timepix3.scan_clock import TICKS_PER_US, understand

RISE, FALL, RISE_2 = 0xF, 0xA, 0xE


def edges(**kinds):
    codes = {"rise": RISE, "fall": FALL, "rise_2": RISE_2}
    times = np.concatenate([np.asarray(times, dtype=np.int64) for times in kinds.values()] or [np.zeros(0, np.int64)])
    names = [codes[name] for name, some in kinds.items() for _ in some]
    return Edges(times, np.array(names, dtype=np.uint8))


def lines(rows, period, begins=1000):
    return begins + period * np.arange(rows)


def clock(found, **scan):
    return understand("a.tpx3", found, 0, Scan(**scan))


def test_a_signal_that_is_high_as_long_as_a_line():
    starts = lines(5, 1300)
    found = clock(edges(rise=starts, fall=starts + 1000), shape=(5, 10))
    assert (found.clock.dwell, found.clock.columns, found.clock.shape) == (100, 10, (5, 10))
    times = np.array([999, 1000, 1099, 1100, 1999, 2000, 2299, 2300, 1000 + 4 * 1300 + 999, 1000 + 4 * 1300 + 1000])
    assert found.clock.frame_of(times).tolist() == [-1, 0, 0, 1, 9, -1, -1, 10, 49, -1]


def test_a_pulse_at_the_beginning_of_each_line():
    starts = lines(4, 1000)
    found = clock(edges(rise=starts, fall=starts + 20), shape=(4, 10))
    assert found.clock.dwell == 100
    assert any("until the next one begins" in note for note in found.notes)
    given = clock(edges(rise=starts, fall=starts + 20), shape=(4, 10), dwell_time_us=80 / TICKS_PER_US)
    assert given.clock.frame_of(np.array([1000, 1079, 1080, 1799, 1800])).tolist() == [0, 0, 1, 9, -1]


def test_lines_are_those_of_the_wanted_number():
    found = clock(edges(rise=lines(7, 900), rise_2=lines(4, 1600), fall=lines(7, 900) + 5), shape=(4, 8))
    assert "input 2 rise: 4" in found.notes[0]


def test_edges_of_points_number_the_frames():
    starts = lines(60, 100)
    starts[30:] += 450  # a flyback
    found = clock(edges(rise=lines(6, 1000), rise_2=starts), shape=(6, 10))
    assert (found.clock.columns, found.clock.shape) == (1, (6, 10))
    assert found.clock.frame_of(np.array([1000, 1100, 3999, 4000, 4449, 4450])).tolist() == [0, 1, 29, -1, -1, 30]


def test_more_edges_than_any_scan_has_lines_are_points():
    found = clock(edges(rise=lines(20_000, 50)))
    assert (found.clock.columns, found.clock.shape) == (1, (20_000,))


def test_a_shape_that_is_not_given_is_guessed_and_said():
    starts = lines(6, 1300)
    found = clock(edges(rise=starts, fall=starts + 1000), dwell_time_us=100 / TICKS_PER_US)
    assert found.clock.shape == (6, 10)
    assert any("check it" in note for note in found.notes)
    assert clock(edges(rise=starts, fall=starts + 1000)).clock.shape == (6, 6)


@pytest.mark.parametrize(("lines_there", "said"), [(3, "ended after 3 of its 5"), (9, "the first 5 of them")])
def test_more_and_fewer_lines_than_wanted(lines_there, said):
    found = clock(edges(rise=lines(lines_there, 1000)), shape=(5, 10))
    assert any(said in note for note in found.notes)
    assert len(found.clock.starts) == min(5, lines_there)


def test_a_signal_that_says_another_length_of_lines():
    starts = lines(5, 1300)
    found = clock(edges(rise=starts, fall=starts + 1000), shape=(5, 10), dwell_time_us=50 / TICKS_PER_US)
    assert found.notes[-1] == "a line of 10 points lasts 0.78125 µs, but its signal 1.5625 µs: check it"
    assert found.clock.dwell == 50
    found = clock(edges(rise=starts, fall=starts + 1000), shape=(5, 10), dwell_time_us=101 / TICKS_PER_US)
    assert len(found.notes) == 1


@pytest.mark.parametrize("lost", ["rise", "both"])
def test_a_line_whose_edge_is_lost_moves_no_other(lost):
    """If falling edges outnumber rising ones, they still end lines."""
    starts = lines(20, 1300)
    left = np.delete(starts, 6)
    found = clock(edges(rise=left, fall=(starts if lost == "rise" else left) + 1000), shape=(20, 10))
    np.testing.assert_array_equal(found.clock.starts, starts)
    assert found.clock.dwell == 100
    assert found.notes[1] == "lines inserted where an edge is missing: 1: check it"


def test_as_many_edges_as_lines_lack_none():
    starts = lines(20, 1300) + np.where(np.arange(20) > 6, 1300, 0)
    np.testing.assert_array_equal(clock(edges(rise=starts), shape=(20, 10)).clock.starts, starts)


def test_of_a_pause_longer_than_what_lacks_nothing_is_made():
    starts = lines(18, 1300) + np.where(np.arange(18) > 6, 5 * 1300, 0)
    np.testing.assert_array_equal(clock(edges(rise=starts), shape=(20, 10)).clock.starts, starts)


def test_points_that_lack_and_that_are_too_few():
    starts = lines(60, 100)
    found = clock(edges(rise=np.delete(starts, 33)), shape=(6, 10))
    np.testing.assert_array_equal(found.clock.starts, starts)
    found = clock(edges(rise=starts[:-1]), shape=(6, 10))
    assert found.notes[-1] == "points inserted where an edge is missing: 1: check it"
    found = clock(edges(rise=starts[:-5] + np.arange(55) % 2 * 40), shape=(6, 10))
    assert found.notes[-1] == "the last 5 points are assumed to be those without an edge: check it"


def test_without_triggers_points_follow_one_another():
    scan = {"shape": (3, 4), "dwell_time_us": 100 / TICKS_PER_US, "flyback_frames": 2}
    found = understand("a.tpx3", edges(), 5000, Scan(**scan))
    assert found.clock.shape == (3, 6)
    assert found.clock.frame_of(np.array([4999, 5000, 5599, 5600, 6799, 6800])).tolist() == [-1, 0, 5, 6, 17, -1]


def test_neither_triggers_nor_times():
    with pytest.raises(InputFileError, match="no two edges") as caught:
        clock(edges(), shape=(3, 4))
    assert "dwell_time_us" in caught.value.hint


def test_lines_longer_than_the_time_between_them():
    with pytest.raises(InputFileError, match="the next one begins after"):
        clock(edges(rise=lines(4, 1000)), shape=(4, 10), dwell_time_us=120 / TICKS_PER_US)
