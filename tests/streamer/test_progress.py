"""Bookkeeping of one scan: what has arrived, what is late, and how it ends."""

import dataclasses

import numpy as np
import pytest
from stream_tools import make_header

from ptylive.schema import FrameBatch
from ptylive.streamer.blocks import FrameBlock
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.wire import EndMessage


@pytest.fixture
def scan():
    return ScanProgress(make_header())


def placed(scan, first, count, now=1.0):
    fresh = scan.fresh(first, count)
    scan.place(first, fresh, now=now)
    return int(np.count_nonzero(fresh))


def test_frames_count_once_and_those_behind_the_front_are_late(scan):
    assert [placed(scan, *run) for run in ((0, 5), (10, 5), (3, 9), (3, 9))] == [5, 5, 5, 0]
    assert (scan.placed, scan.late, scan.highest, scan.lost) == (15, 5, 14, 0)


def test_both_ways_of_counting_agree():
    """Messages one by one, and blocks of many."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = ScanProgress(make_header()), ScanProgress(make_header())
        order = rng.permutation(42)
        for block in np.split(order, 6):
            for number in block:
                placed(one, int(number), 1)
            other.place_block(block, now=1.0)
        assert (one.placed, one.late, one.highest) == (other.placed, other.late, other.highest)


@pytest.mark.parametrize(
    ("arrived", "end", "outcome", "lost"),
    [
        (42, None, "complete", 0),
        (10, None, "aborted", 0),
        (42, ("complete", 42), "complete", 0),
        (10, ("complete", 42), "incomplete", 32),
        (10, ("complete", 10), "complete", 0),
        (10, ("aborted", 10), "aborted", 0),
        (10, ("aborted", 20), "aborted", 10),
        (10, ("complete", 10**9), "incomplete", 32),
    ],
)
def test_how_a_scan_ends(scan, arrived, end, outcome, lost):
    placed(scan, 0, arrived)
    if end is not None:
        scan.end = EndMessage(scan.header.uid, end[1], end[0])
    assert (scan.outcome, scan.lost) == (outcome, lost)


def test_the_rate_of_frames_that_came_at_once_is_not_known(scan):
    placed(scan, 0, 4, now=1.0)
    assert scan.frames_per_s(9.0, closed=True) is None
    placed(scan, 4, 2, now=3.0)
    assert scan.frames_per_s(9.0, closed=True) == 3.0


def test_what_an_earlier_run_stored_counts_as_placed_and_not_as_received(scan):
    scan.restore(np.arange(42) < 20)
    assert (scan.placed, scan.highest, scan.late) == (20, 19, 0)
    assert placed(scan, 15, 10) == 5
    empty = ScanProgress(make_header())
    empty.restore(np.zeros(42, bool))
    assert (empty.placed, empty.highest) == (0, -1)


def test_what_cannot_be_compared_is_said_once(scan):
    assert scan.note_unchecked(0) == ""
    assert "cannot be compared" in scan.note_unchecked(3)
    assert scan.note_unchecked(2) == ""
    assert scan.unchecked == 5


def test_a_block_is_placed_at_once_where_all_of_it_is_new_and_of_this_scan(scan):
    def block(first, stop, uid=scan.header.uid):
        return FrameBlock(FrameBatch(uid, np.arange(first, stop), np.zeros((stop - first, 8, 8))), "none")

    scan.place_block(np.arange(5, 10), now=1.0, marks=np.arange(50, 55, dtype=np.uint32))
    assert scan.marks[4:11].tolist() == [0, 50, 51, 52, 53, 54, 0]
    assert scan.lacks(block(0, 5)) and scan.lacks(block(10, scan.header.frames))
    for other in (block(0, 6), block(9, 12), block(10, scan.header.frames + 1), block(0, 5, "another")):
        assert not scan.lacks(other)
    assert not ScanProgress(scan.header, sent_as="another").lacks(block(0, 5))


def test_frames_after_the_last_point_may_be_missing_and_a_scan_without_any_is_not_complete():
    header = dataclasses.replace(make_header(), frames=50)  # 42 points
    scan = ScanProgress(header)
    placed(scan, 0, 41)
    assert (scan.outcome, scan.summary().lost) == ("aborted", 1)
    placed(scan, 41, 1)
    assert (scan.complete, scan.outcome, scan.summary().lost) == (False, "complete", 0)
    scan.end = EndMessage(header.uid, 50, "complete")
    assert scan.outcome == "incomplete", "its sender counts the frames that it has sent"
    empty = ScanProgress(header)
    empty.end = EndMessage(header.uid, 0, "complete")
    assert (empty.complete, empty.outcome) == (True, "aborted")
