"""Numbers of frames that are sent without numbers: before a loss, after one, between two."""

import numpy as np
import pytest

from ptylive.streamer.protocols.tpx3 import placing as module
from ptylive.streamer.protocols.tpx3.chunks import Csr
from ptylive.streamer.protocols.tpx3.placing import Placed, Placing


def frames(count: int) -> Csr:
    return Csr(np.arange(1, count + 1), np.zeros(count, "<u4"), np.ones(count, "<u2"))


def firsts(placed: list[Placed]) -> list[tuple[int, int]]:
    return [(one.first, len(one.frames.ends)) for one in placed]


def test_frames_are_counted() -> None:
    placing = Placing(10, begun=True)
    assert [placed.first for count in (4, 3, 3) if (placed := placing.put(count, frames(count)))] == [0, 4, 7]
    assert placing.settle(ended=True) == ([], 0)
    assert placing.last == 9


def test_frames_known_to_be_lost_cost_no_other_its_place() -> None:
    placing = Placing(10, begun=True)
    assert placing.put(4, None) is None
    placed = placing.put(2, frames(2))
    assert placed is not None and placed.first == 4


def test_after_a_loss_the_end_tells() -> None:
    placing = Placing(20, begun=True)
    placing.put(4, frames(4))
    placing.lose()
    placing.lose()
    assert [placing.put(4, frames(4)), placing.put(3, None), placing.put(5, frames(5))] == [None] * 3
    found, unplaced = placing.settle(ended=True)
    assert (firsts(found), unplaced) == ([(8, 4), (15, 5)], 0)
    assert placing.last == 19


def test_a_beginning_that_was_lost() -> None:
    placing = Placing(20, begun=False)
    placing.put(6, frames(6))
    found, unplaced = placing.settle(ended=True)
    assert (firsts(found), unplaced) == ([(14, 6)], 0)


def test_between_two_losses_there_is_no_place() -> None:
    placing = Placing(20, begun=True)
    for count in (4, 3, 2):
        placing.put(count, frames(count))
        placing.lose()
    assert placing.settle(ended=True) == ([], 5)  # the last loss may have been the end of the scan


def test_a_scan_that_did_not_end_tells_nothing() -> None:
    placing = Placing(20, begun=True)
    placing.lose()
    placing.put(4, frames(4))
    assert placing.settle(ended=False) == ([], 4)


def test_more_frames_than_there_are_have_no_place() -> None:
    placing = Placing(6, begun=True)
    placing.put(4, frames(4))
    placing.lose()
    placing.put(4, frames(4))
    assert placing.settle(ended=True) == ([], 4)


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_HELD_BYTES", 2 * 14 * 4)
    placing = Placing(20, begun=False)
    for _ in range(4):
        placing.put(4, frames(4))
    assert firsts(placing.settle(ended=True)[0]) == [(4, 4), (8, 4)]
