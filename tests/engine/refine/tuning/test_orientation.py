"""Another orientation of a data set equals reading the data with that orientation."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_view import PatternView
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.tuning.orientation import Orientation, start_turned
from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.detector import Detector
from ptylive.schema.scan import Scan

ROWS, COLUMNS, SHAPE = 6, 9, (4, 5)


def read(rotation_deg: float, transform: str) -> Dataset:
    """A scan read with an orientation; its pattern is not square, and nothing in it is symmetric."""
    rng = np.random.default_rng(2)
    detector = Detector(shape=(ROWS, COLUMNS), dtype="<f4", transform=transform)
    arrays = {
        "bad_pixel_mask": rng.random((ROWS, COLUMNS)) < 0.2,
        "vacuum_pattern": rng.random((ROWS, COLUMNS)),
    }
    header = ScanHeader("uid", "series", 20, Scan(shape=SHAPE, step_A=(0.5, 0.8)), detector=detector, arrays=arrays)
    entries = {
        "beam_center_px": Quantity((2.2, 4.7), Origin.ESTIMATED),
        "rotation_deg": Quantity(rotation_deg, Origin.UNDECIDED, 3.0),
        "detector_transform": Quantity(transform, Origin.ESTIMATED),
        "descan_px": Quantity((0.3, -0.2, 0.5, 0.1), Origin.GIVEN),
    }
    frames = rng.random((20, ROWS, COLUMNS), dtype=np.float32)
    return Dataset.of(header, Calibration(entries), np.arange(20), frames)


@pytest.mark.parametrize("words", [("none", "transpose"), ("transpose", "none"), ("flip_rows", "transpose+flip_rows")])
@pytest.mark.parametrize("turn_deg", [30.0, -170.0])
def test_it_is_as_if_read_that_way(words, turn_deg):
    before, after = words
    found, wanted = Orientation(True, turn_deg).of(read(100.0, before)), read(100.0 + turn_deg, after)
    assert np.array_equal(found.patterns, wanted.patterns)
    assert np.array_equal(found.bad_pixels, wanted.bad_pixels)
    assert np.array_equal(found.vacuum, wanted.vacuum)
    assert found.beam_center_px == pytest.approx(wanted.beam_center_px)
    assert found.offsets_px == pytest.approx(wanted.offsets_px)
    assert found.calibration.transform == after
    assert found.positions_A == pytest.approx(wanted.positions_A, abs=1e-12)
    assert found.calibration.rotation_deg == {30.0: 130.0, -170.0: -70.0}[turn_deg]
    assert found.calibration.entries["rotation_deg"].uncertainty == 3.0


def test_a_turn_alone_keeps_the_patterns_and_there_is_a_way_back():
    before = replace(read(100.0, "none"), reach_A=np.array([[1.0, -2.0]]))
    turned = Orientation(False, 40.0).of(before)
    assert turned.patterns is before.patterns
    assert turned.calibration.transform == "none"
    again = Orientation(True, -40.0).of(Orientation(True, 0.0).of(turned))
    assert np.array_equal(again.patterns, before.patterns)
    assert again.positions_A == pytest.approx(before.positions_A)
    assert again.reach_A == pytest.approx(before.reach_A)
    assert again.calibration.transform == "none"


def test_patterns_that_are_read_later_are_exchanged_as_they_are_read():
    before = read(100.0, "none")
    view = PatternView(before.patterns.shape, before.patterns.dtype, lambda index: before.patterns[index]).as_array()
    found = Orientation(True, 0.0).of(replace(before, patterns=view))
    assert isinstance(found.patterns, PatternView)
    assert found.patterns.shape == (20, COLUMNS, ROWS)
    assert np.array_equal(found.patterns[[3, 7]], before.patterns[[3, 7]].swapaxes(1, 2))


def test_turns_add_up():
    assert Orientation(True, 40.0).turned(-10.0) == Orientation(True, 30.0)


def test_a_start_stays_where_it_is_in_a_scan_that_is_turned():
    """Its corner turns about the first point of the scan, as the positions do, and its axes turn with it."""
    assert start_turned(None, 30.0) is None
    before = read(100.0, "none")
    first = before.positions_A[0]
    start = StartGuess(np.zeros((2, 2), np.float32), (1.0, 1.0), 100.0, tuple(before.positions_A[7] - first))
    turned, after = start_turned(start, 30.0), Orientation(False, 30.0).of(before)
    assert turned.rotation_deg == 130.0
    assert turned.origin_A == pytest.approx(tuple(after.positions_A[7] - first))
