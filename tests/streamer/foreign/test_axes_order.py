"""Units show which axes belong to the scan; frames stored in any axis order are delivered in the documented order."""

import h5py
import numpy as np
import pytest

from ptylive.streamer.foreign.axes_order import REVERSED, ROWS_FIRST, ReorderedFrames, scan_lies_last

WANTED = np.arange(2 * 3 * 4 * 5, dtype=">u2").reshape(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("units", "last"),
    [
        (("nm", "nm", "1/nm", "1/nm"), False),
        (("1/nm", "1/nm", "nm", "nm"), True),
        (("mrad", "mrad", "µm", "µm"), True),
        (("px", "px", "nm", "nm"), True),
        (("", "", "mrad", "mrad"), False),
        (("1/nm", "1/nm", "", ""), True),
        (("nm", "nm", None, None), False),
        (("", "", "", ""), None),
        (("nm", "nm", "nm", "nm"), None),
        (("nm", "1/nm", "nm", "1/nm"), None),
    ],
)
def test_units_tell_the_scan(units, last):
    assert scan_lies_last([(0.5, unit) for unit in units]) is last


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
