"""Detector pixels as described by other programs: square, nearly so, or not."""

import math

import pytest

from ptylive.streamer.foreign.units import detector_metadata, unequal_pixels


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
