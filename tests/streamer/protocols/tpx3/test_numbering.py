"""Numbers of frames that are sent without numbers: before a loss, after one, between two."""

import numpy as np
import pytest

from ptylive.streamer.protocols.tpx3 import numbering as module
from ptylive.streamer.protocols.tpx3.chunks import Csr
from ptylive.streamer.protocols.tpx3.numbering import FrameNumbering, PlacedFrames


def frames(count: int) -> Csr:
    return Csr(np.arange(1, count + 1), np.zeros(count, "<u4"), np.ones(count, "<u2"))


def firsts(placed: list[PlacedFrames]) -> list[tuple[int, int]]:
    return [(one.first, len(one.frames.ends)) for one in placed]


def test_frames_are_counted() -> None:
    numbering = FrameNumbering(10, begun=True)
    assert [placed.first for count in (4, 3, 3) if (placed := numbering.put(count, frames(count)))] == [0, 4, 7]
    assert numbering.settle(ended=True) == ([], 0)
    assert numbering.last == 9


def test_frames_known_to_be_lost_cost_no_other_its_place() -> None:
    numbering = FrameNumbering(10, begun=True)
    assert numbering.put(4, None) is None
    placed = numbering.put(2, frames(2))
    assert placed is not None and placed.first == 4


def test_after_a_loss_the_end_tells() -> None:
    numbering = FrameNumbering(20, begun=True)
    numbering.put(4, frames(4))
    numbering.lose()
    numbering.lose()
    assert [numbering.put(4, frames(4)), numbering.put(3, None), numbering.put(5, frames(5))] == [None] * 3
    found, unplaced = numbering.settle(ended=True)
    assert (firsts(found), unplaced) == ([(8, 4), (15, 5)], 0)
    assert numbering.last == 19


def test_a_beginning_that_was_lost() -> None:
    numbering = FrameNumbering(20, begun=False)
    numbering.put(6, frames(6))
    found, unplaced = numbering.settle(ended=True)
    assert (firsts(found), unplaced) == ([(14, 6)], 0)


def test_between_two_losses_there_is_no_place() -> None:
    numbering = FrameNumbering(20, begun=True)
    for count in (4, 3, 2):
        numbering.put(count, frames(count))
        numbering.lose()
    assert numbering.settle(ended=True) == ([], 5)  # the last loss may have been the end of the scan


def test_a_scan_that_did_not_end_tells_nothing() -> None:
    numbering = FrameNumbering(20, begun=True)
    numbering.lose()
    numbering.put(4, frames(4))
    assert numbering.settle(ended=False) == ([], 4)


def test_more_frames_than_there_are_have_no_place() -> None:
    numbering = FrameNumbering(6, begun=True)
    numbering.put(4, frames(4))
    numbering.lose()
    numbering.put(4, frames(4))
    assert numbering.settle(ended=True) == ([], 4)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD_BYTES", 2 * 14 * 4)
    numbering = FrameNumbering(20, begun=False)
    for _ in range(4):
        numbering.put(4, frames(4))
    assert firsts(numbering.settle(ended=True)[0]) == [(4, 4), (8, 4)]
