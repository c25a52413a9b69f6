"""Places of frames in a recording: every acquisition number in one place, with flyback frames, repeats or neither."""

from dataclasses import replace

import numpy as np
import pytest
from stream_tools import make_header

from ptylive.streamer.storage.layout import StoredScan

PLAIN, FLAT = StoredScan((6, 7)), StoredScan((42,))


def announced(**changes):
    """A scan announced by a sender, with as many frames as it takes."""
    header = make_header()
    scan = header.scan.model_copy(update=changes)
    return replace(header, scan=scan, frames=header.frames if scan.shape is None else scan.frames)


@pytest.mark.parametrize(("flyback", "columns"), [(0, 7), (2, 9)])
def test_a_frame_for_every_point_lies_by_row_and_column(flyback, columns):
    assert StoredScan.of(announced(flyback_frames=flyback)).shape == (6, columns)


@pytest.mark.parametrize(("change", "frames"), [({"repeats": 2}, 84), ({"skip_first": 3}, 45), ({"shape": None}, 42)])
def test_what_is_no_grid_of_single_frames_is_a_list(change, frames):
    assert StoredScan.of(announced(**change)).shape == (frames,)


def test_a_sender_that_announces_another_number_of_frames_than_the_scan_has_gets_a_list():
    assert StoredScan.of(replace(make_header(), frames=43)).shape == (43,)


@pytest.mark.parametrize("stored", [PLAIN, FLAT, StoredScan((1, 42)), StoredScan((42, 1))])
def test_single_frames_and_pieces_agree_on_the_place(stored):
    """For every range of numbers: its pieces, written one after the other, put each frame where ``at`` reads it."""
    assert stored.frames == 42
    for first, last in [(0, 42), (0, 0), (3, 4), (6, 8), (5, 30), (41, 42), (7, 14)]:
        placed = np.full(stored.shape, -1)
        covered = []
        for selection, start, stop in stored.pieces(first, last):
            placed[selection] = np.arange(start, stop)
            covered += range(start, stop)
        assert covered == list(range(first, last))
        assert all(placed[stored.at(number)] == number for number in range(first, last))
        assert (placed >= 0).sum() == last - first
