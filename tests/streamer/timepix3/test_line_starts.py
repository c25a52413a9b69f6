"""Edges that are lost or come twice."""

import numpy as np
import pytest

from ptylive.streamer.timepix3.line_starts import line_starts, point_starts

LINES = 1000 + 210 * np.arange(20)


def points(rows=6, columns=8, between=130):
    return (np.arange(rows)[:, None] * (10 * columns + between) + 10 * np.arange(columns)).ravel()


def test_regular_edges_stay_as_they_are():
    found = line_starts(LINES)
    np.testing.assert_array_equal(found.starts, LINES)
    assert not found.notes()


@pytest.mark.parametrize("lost", [[7], [3, 4, 5], [1, 9, 18]])
def test_a_lost_edge_costs_no_line(lost):
    found = line_starts(np.delete(LINES, lost))
    np.testing.assert_array_equal(found.starts, LINES)
    assert found.notes() == [f"lines inserted where an edge is missing: {len(lost)}: check it"]


@pytest.mark.parametrize("where", [1, 40, 110, 180, -60, 19 * 210 + 9])
def test_an_edge_between_regular_ones_begins_no_line(where):
    found = line_starts(np.sort([*LINES, 1000 + where]))
    np.testing.assert_array_equal(found.starts, LINES)
    assert found.notes() == ["irregular edges left out: 1: check it"]


def test_one_lost_and_one_too_many():
    found = line_starts(np.sort([*np.delete(LINES, 4), 1000 + 12 * 210 + 30]))
    np.testing.assert_array_equal(found.starts, LINES)
    assert (found.put_in, found.left_out) == (1, 1)


def test_pauses_and_irregular_lines_are_left_alone():
    paused = LINES + np.where(np.arange(20) > 8, 333, 0)
    np.testing.assert_array_equal(line_starts(paused).starts, paused)
    long = LINES + np.where(np.arange(20) > 8, 210 * 30, 0)
    np.testing.assert_array_equal(line_starts(long).starts, long)
    loose = np.cumsum(np.random.default_rng(1).integers(100, 500, 30))
    np.testing.assert_array_equal(line_starts(loose).starts, loose)
    np.testing.assert_array_equal(line_starts(LINES[[0, 1, 3]]).starts, LINES[[0, 1, 3]])


def test_lines_that_were_handed_on_stay():
    edges = np.delete(LINES, [2, 12])
    fixed = edges[:5]  # before a missing edge could be noticed
    found = line_starts(edges, fixed)
    np.testing.assert_array_equal(found.starts[:5], fixed)
    np.testing.assert_array_equal(found.starts[5:], LINES[6:])


def test_of_what_follows_the_scan_nothing_is_told():
    found = line_starts(np.delete(LINES, 15), most=10)
    assert not found.notes()


@pytest.mark.parametrize("between", [0, 130, 100])
@pytest.mark.parametrize("lost", [[21], [7, 30], [16], [15, 16]])
def test_lost_edges_of_points(between, lost):
    edges = points(between=between)
    found = point_starts(np.delete(edges, lost), 6, 8)
    np.testing.assert_array_equal(found.starts, edges)
    assert found.notes("points") == [f"points inserted where an edge is missing: {len(lost)}: check it"]


def test_points_of_a_scan_that_was_ended_and_double_ones():
    edges = points()
    np.testing.assert_array_equal(point_starts(edges[:30], 6, 8).starts, edges[:30])
    found = point_starts(np.sort([*edges, 21 * 10 + 261]), 6, 8)
    np.testing.assert_array_equal(found.starts, edges)
    assert found.left_out == 1


@pytest.mark.parametrize("gap", [200, 240, 250, 730, 1000])
def test_the_last_line_has_its_place_before_another_scan(gap):
    """The last line's edge is lost; the other scan begins at an arbitrary time."""
    edges = np.concatenate([100 * np.arange(11), 1000 + gap + 100 * np.arange(12)])
    found = line_starts(edges, None, 12)
    np.testing.assert_array_equal(found.starts[:12], 100 * np.arange(12))
    assert (found.put_in, found.left_out) == (1, 0)
    np.testing.assert_array_equal(line_starts(edges, 100 * np.arange(10), 12).starts[:12], found.starts[:12])


@pytest.mark.parametrize("gap", [130, 190, 1110])
def test_of_a_gap_without_room_for_a_line_and_of_a_pause_nothing_is_made(gap):
    edges = np.concatenate([100 * np.arange(11), 1000 + gap + 100 * np.arange(12)])
    np.testing.assert_array_equal(line_starts(edges, None, 12).starts, edges)


@pytest.mark.parametrize("pause", [200, 300, 340, 730, 1000])
@pytest.mark.parametrize("after", [130, 300, 2000, None])
def test_a_pause_before_the_last_line_is_one(pause, after):
    """``after``: when another scan begins. If that scan began right after the pause, its lines would follow at once."""
    last = 1000 + pause
    later = [] if after is None else last + after + 100 * np.arange(12)
    edges = np.concatenate([100 * np.arange(11), [last], later]).astype(np.int64)
    for fixed in (None, edges[:10]):
        found = line_starts(edges, fixed, 12)
        np.testing.assert_array_equal(found.starts[:12], edges[:12])
        assert not found.notes() and not found.waits


@pytest.mark.parametrize("pause", [200, 340])
def test_what_comes_after_a_pause_is_waited_for(pause):
    edges = np.concatenate([100 * np.arange(11), [1000 + pause]])
    found = line_starts(edges, None, 12, until=1000 + pause + 90)
    np.testing.assert_array_equal(found.starts, edges[:11])
    assert found.waits and not found.notes()
    np.testing.assert_array_equal(line_starts(edges, None, 12, until=1000 + pause + 110).starts, edges)
    follows = np.append(edges, 1100 + pause)
    found = line_starts(follows, None, 12, until=1000 + pause + 101)
    np.testing.assert_array_equal(found.starts[:12], 100 * np.arange(12))
    assert (found.put_in, found.waits) == (1, False)
