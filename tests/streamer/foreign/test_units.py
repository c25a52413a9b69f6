"""Detector pixels as described by other programs: square, nearly so, or not."""

import math

import numpy as np
import pytest

from ptylive.streamer.foreign.units import (
    axes_metadata,
    detector_metadata,
    doubtful_axes,
    mean_step,
    scan_metadata,
    unequal_pixels,
)


@pytest.mark.parametrize(
    ("rows", "columns", "pixel", "words"),
    [
        ((2.0, "mrad"), (2.0, "mrad"), {"detector_pixel_mrad": 2.0}, ""),
        ((2.0, "mrad"), (2.001, "mrad"), {"detector_pixel_mrad": 2.0}, ""),
        ((2.0, "mrad"), (2.02, "mrad"), {"detector_pixel_mrad": math.sqrt(4.04)}, "2 by 2.02 mrad, rows by columns"),
        ((0.02, b"1/nm"), (0.0205, b"1/nm"), {"detector_pixel_invA": math.sqrt(0.00000410)}, "0.02 by 0.0205 1/nm"),
        ((2.0, "mrad"), (2.2, "mrad"), {}, "2 by 2.2 mrad, rows by columns, and are not used: give"),
        ((2.0, "mrad"), (2.0, "1/nm"), {}, ""),
        ((None, None), (0.0, "mrad"), {}, ""),
    ],
)  # fmt: skip
def test_nearly_square_pixels_have_their_mean_and_others_are_told_of(rows, columns, pixel, words):
    assert detector_metadata([rows, columns]) == pytest.approx(pixel)
    notes = unequal_pixels([rows, columns])
    assert (words in notes[0]) if words else notes == ()


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([0.0, 0.5], 0.5),
        ([3.0, 2.0, 1.0], -1.0),
        (np.arange(5, dtype=np.int32) * 7, 7.0),
        ([0.0, 0.3, 0.7, 1.0], 1 / 3),
        ([0.0, 1.0, 4.0, 9.0, 16.0], None),
        ([1.0, 1.0, 1.0], 0.0),
        ([np.nan, 1.0], None),
        ([1.0], None),
        ([-np.inf, np.inf, np.inf], None),
        ([0.0, 1e200, 3e200], None),
    ],
)
def test_the_step_of_an_axis_is_that_of_all_its_values(values, step):
    assert mean_step(np.array(values)) == (None if step is None else pytest.approx(step))


DETECTOR = [(2.0, "mrad"), (2.0, "mrad")]


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        ([(-0.4, "nm"), (0.4, "nm"), *DETECTOR], [("the scan's rows descends (-0.4 nm a step)", "give scan_step_A")]),
        (
            [(0.4, b"nm"), (0.4, b"nm"), (-0.2, b"1/nm"), (-2, b"mrad")],
            [
                ("the detector's rows descends (-0.2 1/nm", "give detector_pixel_mrad"),
                ("columns descends (-2 mrad", ""),
            ],
        ),
        ([(-1.0, "nm"), *DETECTOR], [("the scan's columns descends (-1 nm a step)", "give scan_step_A")]),
        ([(0.05, "nm"), *DETECTOR], [("scan_step_A 0.5 is the step along the only axis of the scan", "")]),
        ([(0.05, "s"), *DETECTOR], []),
        ([(-1.0, "px"), (-1, ""), (-1, None), (None, "mrad")], []),
        ([(0.4, "nm"), (0.4, "nm"), *DETECTOR], []),
        ([], []),
    ],
)
def test_axes_that_descend_are_not_used_and_told_of(scales, told):
    notes = doubtful_axes(scales)
    assert len(notes) == len(told)
    for note, (words, remedy) in zip(notes, told, strict=True):
        assert words in note and remedy in note and note.endswith(": check it")
    assert scan_metadata([(-0.4, "nm"), (0.4, "nm")]) == {}


@pytest.mark.parametrize(
    ("scan", "step"),
    [
        ([(0.5, "nm")], [5.0, 5.0]),
        ([(0.5, "nm"), (0.4, "nm")], [5.0, 4.0]),
        ([(0.5, "s")], None),
        ([(-0.5, "nm")], None),
    ],
)
def test_a_line_has_one_step_and_a_grid_two(scan, step):
    wanted = {"detector_pixel_mrad": 2.0} | ({} if step is None else {"scan_step_A": pytest.approx(step)})
    assert axes_metadata([*scan, *DETECTOR]) == wanted
