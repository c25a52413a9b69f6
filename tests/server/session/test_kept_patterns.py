"""Patterns kept of an arriving scan, within a bound."""

import numpy as np
import pytest

from ptylive.schema import Detector, FrameBatch, Scan, ScanHeader
from ptylive.server.session.kept_patterns import MOST_AVERAGED, KeptPatterns

ROWS, COLS, SIDE = 9, 12, 4


def header(**scan: object) -> ScanHeader:
    detector = Detector(shape=(SIDE, SIDE), dtype="<u2")
    return ScanHeader("scan", "", ROWS * COLS, scan=Scan(shape=(ROWS, COLS), **scan), detector=detector)


def batch(first: int, last: int) -> FrameBatch:
    """Frames whose pixels all hold the frame's number."""
    index = np.arange(first, last)
    return FrameBatch("scan", index, np.broadcast_to(index[:, None, None], (len(index), SIDE, SIDE)).astype(np.uint16))


def kept(frames: int, most_bytes: int = 2**20, **scan: object) -> KeptPatterns:
    patterns = KeptPatterns(header(**scan), most_bytes)
    for start in range(0, frames, 7):
        patterns.add(batch(start, min(start + 7, frames)))
    return patterns


def test_every_pattern_of_a_small_scan_is_there_as_soon_as_it_has_come() -> None:
    patterns = kept(50)
    found = patterns.mean((2, 3), (2, 3))
    assert found is not None
    assert (found.pattern == 2 * COLS + 3).all()
    assert (found.frames, found.nearest) == (1, None)
    assert patterns.mean((8, 0), (8, 0)) is None, "row 8 has not come"
    rectangle = patterns.mean((3, 5), (1, 2))
    assert rectangle is not None
    assert rectangle.frames == 12
    assert rectangle.pattern[0, 0] == pytest.approx(np.mean([r * COLS + c for r in (1, 2, 3) for c in range(2, 6)]))


def test_a_snake_is_looked_up_by_its_places() -> None:
    found = kept(ROWS * COLS, pattern="snake").mean((1, 0), (1, 0))
    assert found is not None
    assert (found.pattern == 2 * COLS - 1).all()


@pytest.mark.parametrize("bytes_of", [1, 3, 20, 60])
def test_of_large_scans_a_grid_is_kept_within_the_bound(bytes_of: int) -> None:
    frame = 2 * SIDE**2
    patterns = kept(ROWS * COLS, bytes_of * frame)
    assert 1 <= len(patterns._frames) <= bytes_of
    near = patterns.mean((1, 1), (1, 1))
    assert near is not None
    assert near.frames == 1
    if (1, 1) not in patterns._frames:
        assert near.nearest in patterns._frames
        assert (near.pattern == near.nearest[0] * COLS + near.nearest[1]).all()


def test_frames_that_are_larger_than_all_that_may_be_kept_are_not() -> None:
    patterns = kept(ROWS * COLS, 2 * SIDE**2 - 1)
    assert patterns._frames == {}
    assert patterns.mean((0, 0), (0, 0)) is None


def test_few_of_many_are_averaged() -> None:
    many = ScanHeader("scan", "", 4096, scan=Scan(shape=(64, 64)), detector=Detector(shape=(1, 1), dtype="<u1"))
    patterns = KeptPatterns(many)
    patterns.add(FrameBatch("scan", np.arange(4096), np.ones((4096, 1, 1), np.uint8)))
    found = patterns.mean((0, 0), (63, 63))
    assert found is not None
    assert found.frames <= MOST_AVERAGED
