"""Bad pixels listed in a calibration."""

from dataclasses import replace

import numpy as np
from synthetic import WeakPhaseScan

from ptylive.engine.bad_pixels import bad_pixels, with_noted_pixels
from ptylive.engine.dataset import dataset_of
from ptylive.schema import Basis, Calibration, Origin, Quantity

CENTRE = Quantity((4.0, 4.0), Origin.GIVEN)


def test_those_of_a_calibration_join_those_that_were_sent():
    scan = WeakPhaseScan.make({}, n=8).header()
    assert not bad_pixels(scan).any()
    assert with_noted_pixels(scan, Calibration()) is scan
    sent = np.zeros(scan.detector_shape, dtype=bool)
    sent[0, 3] = True
    scan = replace(scan, arrays={"bad_pixel_mask": sent})
    elsewhere = (2.0, 1.0, 5.0, 7.0, 99.0, 0.0, -1.0, 2.0)  # a calibration of another detector has some outside
    noted = Calibration({"bad_pixels_px": Quantity(elsewhere, Origin.ESTIMATED), "beam_center_px": CENTRE})
    known = bad_pixels(with_noted_pixels(scan, noted))
    assert np.argwhere(known).tolist() == [[0, 3], [2, 1], [5, 7]]
    frames = np.ones((4, *scan.detector_shape), np.uint16)
    np.testing.assert_array_equal(dataset_of(scan, noted, np.arange(4), frames).bad_pixels, known)
    assert not sent[2, 1], "the scan's own mask stays as it was"
    compressed = replace(scan, basis=Basis(kind="zernike", n_bright=3, n_dark=0))
    assert with_noted_pixels(compressed, noted) is compressed


def test_those_whose_references_leave_nothing_of_them_are_bad():
    """They are sent by a stream without a mask: cameras mark a dead pixel with a gain of 0."""
    scan = WeakPhaseScan.make({}, n=8).header()
    gain, dark = np.ones(scan.detector_shape, np.float32), np.zeros(scan.detector_shape, np.float32)
    assert not bad_pixels(replace(scan, arrays={"gain_reference": gain, "dark_reference": dark})).any()
    gain[1, 2], dark[3, 4] = 0.0, 100.0
    full = scan.detector.model_copy(update={"saturation_value": 100.0})
    sent = replace(scan, detector=full, arrays={"gain_reference": gain, "dark_reference": dark})
    assert np.argwhere(bad_pixels(sent)).tolist() == [[1, 2], [3, 4]]
    assert np.argwhere(bad_pixels(sent.of_counts)).tolist() == [[1, 2], [3, 4]], "also once they have been applied"
    mask = np.zeros(scan.detector_shape, bool)
    mask[5, 5] = True
    named = replace(sent, arrays={**sent.arrays, "bad_pixel_mask": mask})
    assert np.argwhere(bad_pixels(named.of_counts)).tolist() == [[1, 2], [3, 4], [5, 5]]
