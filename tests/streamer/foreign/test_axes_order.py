"""Units show which axes belong to the scan; frames stored in any axis order are delivered in the documented order."""

import h5py
import numpy as np
import pytest

from ptylive.streamer.foreign.axes_order import (
    REVERSED,
    ROWS_FIRST,
    ReorderedFrames,
    in_order,
    order_by_units,
)

WANTED = np.arange(2 * 3 * 4 * 5, dtype=">u2").reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("units", "order"),
    [
        (("nm", "nm", "1/nm", "1/nm"), (0, 1, 2, 3)),
        (("mrad", "mrad", "µm", "µm"), (2, 3, 0, 1)),
        (("px", "px", "nm", "nm"), (2, 3, 0, 1)),
        (("", "", "mrad", "mrad"), (0, 1, 2, 3)),
        (("1/nm", "1/nm", "", ""), (2, 3, 0, 1)),
        (("nm", "nm", None, None), (0, 1, 2, 3)),
        (("nm", "nm", "nm", "nm"), None),
        (("nm", "1/nm", "nm", "1/nm"), (0, 2, 1, 3)),
        (("1/nm", "px", "px", "1/nm"), (1, 2, 0, 3)),
        (("Å", "", "", "Å"), (0, 3, 1, 2)),
        (("nm", "", "1/nm", "1/nm"), (0, 1, 2, 3)),
        (("", "", "", ""), None),
        (("nm", "1/nm", "", ""), None),
        (("nm", "nm", "nm", "1/nm"), None),
        (("mrad", "mrad", "mrad", "nm"), None),
        (("", "1/nm", "1/nm"), (0, 1, 2)),
        (("1/nm", "1/nm", ""), (2, 0, 1)),
        (("", "", "nm"), (2, 0, 1)),
        (("", "nm", "nm"), None),
        (("deg", "", "1/nm", ""), None),
        (("deg", "mrad", "", ""), None),
        (("deg", "1/nm", ""), None),
        (("1/nm", "nm^-1", ""), (2, 0, 1)),
        (("nm", "1/nm"), None),
        ((), None),
    ],
)
def test_units_give_the_order_wherever_the_axes_lie(units, order):
    assert order_by_units([(0.5, unit) for unit in units]) == order


@pytest.mark.parametrize("pitch", [(0.055, "mm"), (75e-6, "m"), (5.0, "µm")])
def test_the_pitch_of_a_detector_is_no_step_of_a_scan(pitch):
    """Regression: a NeXus file with pixels of 55 µm, and without units of the scan, was read as one with such steps."""
    assert order_by_units([(1.0, ""), (1.0, ""), pitch, pitch]) is None
    assert order_by_units([pitch, pitch, (1.0, "nm"), (1.0, "nm")]) == (2, 3, 0, 1)
    assert order_by_units([(None, "mm"), (None, "mm"), (1.0, ""), (1.0, "")]) == (0, 1, 2, 3)


def test_frames_and_scales_are_put_in_order_together():
    """Regression: Swift's and interleaved axes of the detector were taken for those of the scan, without a word."""
    scales = [(0.1, "nm"), (2.0, "mrad"), (0.2, "nm"), (3.0, "mrad")]
    frames, ordered, notes = in_order(WANTED.transpose(0, 2, 1, 3), scales)
    np.testing.assert_array_equal(frames[1, 0:2], WANTED[1, 0:2])
    assert ordered == [(0.1, "nm"), (0.2, "nm"), (2.0, "mrad"), (3.0, "mrad")]
    assert notes == ("by their units its axes are Ry, Qy, Rx, Qx: slow to read; ptylive convert reorders them",)
    listed, _, notes = in_order(WANTED[0].transpose(1, 2, 0), [(2.0, "mrad"), (2.0, "mrad"), (None, None)])
    np.testing.assert_array_equal(listed[1:3], WANTED[0, 1:3])
    assert notes[0].startswith("by their units its axes are Qy, Qx, N:")
    assert notes[0].endswith(": check it")  # only the detector's axes have units


@pytest.mark.parametrize(("units", "guess"), [(("px", "px", "nm", "nm"), True), (("mrad", "mrad", "nm", "nm"), False)])
def test_an_order_by_half_of_the_units_is_a_guess(units, guess):
    """Lengths on two axes may be left over from an image: shown before computations too."""
    _, _, (note,) = in_order(WANTED, [(0.1, unit) for unit in units])
    assert note.endswith(": check it") == guess


@pytest.mark.parametrize("scales", [[], [(2.0, "mrad")] * 2, [(0.1, "nm")] * 2 + [(2.0, "mrad")] * 2])
def test_frames_in_order_are_left_as_they_are(scales):
    assert in_order(WANTED, scales) == (WANTED, scales, ())


@pytest.mark.parametrize("order", [ROWS_FIRST, REVERSED])
@pytest.mark.parametrize("chosen", [np.s_[1], np.s_[0, 1:3], np.s_[1, 0:2], np.s_[0:2], np.s_[:, 1], np.s_[1, 2]])
def test_frames_are_those_of_the_contract(tmp_path, order, chosen):
    """``order`` gives the place of each axis: the array is transposed accordingly, also in HDF5."""
    array = WANTED.transpose(np.argsort(order))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = array
        for stored in (array, file["data"]):
            frames = ReorderedFrames(stored, order)
            assert (frames.shape, frames.dtype) == ((2, 3, 4, 5), np.dtype("=u2"))
            np.testing.assert_array_equal(frames[chosen], WANTED[chosen])
