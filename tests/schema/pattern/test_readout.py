"""What a detector records, and the counts for which it stands."""

from dataclasses import replace

import numpy as np
import pytest
from stream_tools import make_header

from ptylive.schema import Basis, MetadataError
from ptylive.schema.detector import MOST_COUNTS, array_problem, joined
from ptylive.schema.metadata import array_name, arrays_and_numbers, locate
from ptylive.schema.pattern.readout import AS_RECORDED, Readout

DARK = np.array([[10.0, 0.5], [2.0, 3.0]])
GAIN = np.array([[2.0, 1.0], [0.5, 1.0]])
FRAMES = np.array([[[12, 3], [4, 3]], [[9, 0], [70, 2]]], dtype=np.uint16)


def test_the_dark_reference_is_taken_off_and_the_gain_multiplied():
    counts, masked = Readout(dark=DARK.astype("f4"), gain=GAIN.astype("f4")).counts(FRAMES)
    np.testing.assert_array_equal(counts, [[[4, 2.5], [1, 0]], [[-2, -0.5], [34, -1]]])
    assert (counts.dtype, masked) == (np.float32, 0)
    one, _ = Readout(gain=GAIN.astype("f4")).counts(FRAMES[0])
    np.testing.assert_array_equal(one, [[24, 3], [2, 3]])


def test_a_pixel_is_full_by_what_it_recorded():
    counts, _ = Readout(saturation_value=50, dark=DARK.astype("f4")).counts(FRAMES)
    assert counts[1, 1, 0] == 48


def test_no_number_counts_nothing_whatever_the_dark_reference():
    frames = FRAMES.astype(float)
    frames[0, 0, 0], frames[1, 1, 1] = np.nan, np.inf
    counts, masked = Readout(dark=DARK.astype("f4")).counts(frames)
    assert masked == 2
    assert counts[0, 0, 0] == counts[1, 1, 1] == 0
    assert counts.dtype == np.float64


def test_without_references_nothing_is_copied():
    assert AS_RECORDED.counts(FRAMES)[0] is FRAMES
    assert not Readout(saturation_value=50).corrects
    assert Readout(saturation_value=50).counts(FRAMES)[0].max() == 50


def test_counts_are_not_corrected_twice():
    header = make_header(pixels=(2, 2))
    header = replace(
        header,
        detector=header.detector.model_copy(update={"saturation_value": 50.0}),
        arrays={"dark_reference": DARK, "gain_reference": GAIN, "vacuum_pattern": FRAMES[0]},
    )
    after = header.of_counts
    assert not after.readout.corrects
    assert after.detector.saturation_value is None
    assert after.frame_dtype == np.float32
    np.testing.assert_array_equal(after.arrays["vacuum_pattern"], header.readout.counts(FRAMES[0])[0])
    assert after.of_counts is after
    compressed = replace(header, basis=Basis(kind="data", n_bright=3))
    assert compressed.readout is AS_RECORDED


def test_masks_count_together_and_a_gain_of_nothing_is_a_bad_pixel():
    gain = np.array([[-0.1, 1.0], [np.nan, 2.0]])
    mask = np.array([[False, True], [False, False]])
    out = joined({"bad_pixel_mask": mask, "dark_reference": DARK}, {"gain_reference": gain, "dark_reference": GAIN})
    np.testing.assert_array_equal(out["bad_pixel_mask"], [[True, True], [True, False]])
    np.testing.assert_array_equal(out["gain_reference"], [[0, 1], [0, 2]])
    np.testing.assert_array_equal(out["dark_reference"], GAIN)
    assert "bad_pixel_mask" not in joined({}, {"gain_reference": GAIN})


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("dark_reference", DARK, ""),
        ("dark_reference", DARK * np.nan, "not numbers"),
        ("dark_reference", DARK > 0, "holds bool"),
        ("gain_reference", -GAIN, "negative"),
        ("dark_reference", -DARK, ""),
        ("masks", DARK * np.inf, "not numbers"),
        ("vacuum_pattern", DARK * np.nan, ""),
        ("bad_pixel_mask", DARK > 0, ""),
    ],
)
def test_arrays_that_cannot_be(name, array, words):
    assert (words in array_problem(name, array)) if words else array_problem(name, array) == ""


def test_a_pixel_that_is_full_in_the_dark_is_bad_and_takes_nothing_from_the_others():
    dark = np.array([[65535.0, 0.5], [2.0, 3.0]])
    frames = np.full((1, 2, 2), 9, np.uint16)
    frames[0, 0, 0] = 65535
    header = make_header(pixels=(2, 2))
    header = replace(
        header,
        detector=header.detector.model_copy(update={"saturation_value": 50.0}),
        arrays=joined({}, {"dark_reference": dark}, 50.0),
    )
    np.testing.assert_array_equal(header.arrays["bad_pixel_mask"], [[True, False], [False, False]])
    np.testing.assert_array_equal(header.readout.counts(frames)[0][0], [[0, 8.5], [7, 6]])
    assert "bad_pixel_mask" not in joined({}, {"dark_reference": dark})


def test_one_array_under_two_names_is_refused():
    with pytest.raises(MetadataError, match="dark_reference is given twice"):
        arrays_and_numbers({"dark_reference": 1, "detector.dark_reference": 2})


def test_names_of_arrays():
    assert array_name("detector.dark_reference") == array_name("dark_reference") == "dark_reference"
    assert array_name("energy_eV") is None
    given = {"detector.gain_reference": "gain.npy", "energy_eV": 8e4}
    assert arrays_and_numbers(given) == ({"gain_reference": "gain.npy"}, {"energy_eV": 8e4})
    with pytest.raises(MetadataError, match="a file or an array") as error:
        locate("vacuum_pattern")
    assert "at the start of the program" in error.value.hint


@pytest.mark.parametrize("marker", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1.1e12])
@pytest.mark.parametrize("dark", [None, DARK.astype("f4")])
def test_what_is_no_count_is_taken_as_zero_and_counted(marker, dark) -> None:
    frames = FRAMES.astype("f4")
    frames[0, 1] = marker
    counts, masked = Readout(dark=dark).counts(frames)
    assert masked == frames.shape[-1]
    assert (counts[0, 1] == 0).all()
    full = frames.copy()
    full[0, 1] = MOST_COUNTS / frames.shape[-1] / 2
    assert Readout(dark=dark).counts(full)[1] == 0
