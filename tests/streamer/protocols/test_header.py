"""Metadata of a DECTRIS series become a scan: user data and configuration are used only as far as they are possible."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ptylive.schema import MetadataError, WireError
from ptylive.streamer.protocols.dead_pixels import dead_pixels
from ptylive.streamer.protocols.header import Header, arm_message, in_words, positive, whole
from ptylive.streamer.protocols.image import Image, check_image
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE

HEADER = Header("7", frames=42, shape=(8, 8), dtype="<u2")


def armed(header=HEADER, prepare=lambda scan_header: scan_header):
    notes = []
    return arm_message(header, prepare, notes.append), notes


def test_a_scan_shape_that_nobody_gives_is_guessed_and_said():
    message, notes = armed()
    rows, columns = message.header.scan.shape
    assert rows * columns >= 42
    assert "does not state its scan shape" in notes[0]


def test_user_data_give_the_scan():
    message, notes = armed(replace(HEADER, user={"scan": {"shape": [6, 7], "step_A": 0.5}}, frame_time_s=1e-4))
    assert (message.header.scan.shape, message.header.frames, notes) == ((6, 7), 42, [])
    assert message.header.scan.dwell_time_us == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (41, ["series 7 announces 41 images, but its scan has 42: some will be missing"]),
        (42, []),
        (
            50,
            ["series 7 announces 50 images, but its scan has 42: the last 8 are received but not used as scan points"],
        ),
        (84, []),  # two scans
    ],
)
def test_a_series_of_another_length_than_its_scan_is_told(frames, said):
    _, notes = armed(replace(HEADER, frames=frames, user={"scan": {"shape": [6, 7]}}))
    assert len(notes) == len(said)
    assert all(note.startswith(words) for note, words in zip(notes, said, strict=True))


@pytest.mark.parametrize("user", [{"optics": {"energy_eV": -1}}, {"scan": {"shape": [0, 7]}}])
def test_impossible_user_data_are_left_out_and_reported(user):
    message, _ = armed(replace(HEADER, user=user))
    assert message.header.detector_shape == (8, 8)
    assert message.problems


def test_what_the_detector_said_is_kept_in_its_words():
    circular = {}
    circular["self"] = circular
    said = {"bit_depth": 12, "mode": "exte", "table": list(range(65)), "range": [1, 2], "blob": b"x", "odd": circular}
    assert in_words(said) == "bit_depth: 12\nmode: exte\nrange: [1, 2]"
    header = replace(HEADER, sent={"configuration": in_words(said)}, user={"scan": {"shape": [0, 7]}})
    message, _ = armed(header)
    assert message.header.sent == {"configuration": "bit_depth: 12\nmode: exte\nrange: [1, 2]"}
    assert header == replace(header, sent={}), "a header that is sent again is known by the rest of it"


def test_an_impossible_configuration_is_left_out_and_reported():
    def prepare(_header):
        raise MetadataError("scan_shape is impossible", "correct it")

    message, _ = armed(prepare=prepare)
    (problem,) = message.problems
    assert problem.reason == "bad_configuration"
    assert "configuration not used for series 7" in str(problem)


def test_a_mask_of_another_detector_is_not_taken():
    mask = np.eye(8, dtype=bool)
    message, _ = armed(replace(HEADER, bad_pixels=mask))
    np.testing.assert_array_equal(message.header.arrays["bad_pixel_mask"], mask)
    assert armed(replace(HEADER, bad_pixels=mask[:4]))[0].header.arrays == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [(2, 2.0), (0.5, 0.5), (0, None), (-1, None), (True, None), ("1", None), (math.nan, None), (10**400, None)],
    ids=str,
)
def test_only_positive_numbers_count(value, number):
    assert positive(value) == number


@pytest.mark.parametrize(("value", "number"), [(2, 2), (0, 0), (-1, None), (True, None), (1.0, None), ("1", None)])
def test_only_whole_numbers_count(value, number):
    assert whole(value) == number


def image(pattern, dtype, codec="none"):
    return Image("7", 3, (4, 4), dtype, codec, np.asarray(pattern, dtype).tobytes())


@pytest.mark.parametrize("shape", [(0, 8), (8, MAX_DETECTOR_SIDE + 1), (-1, 8)])
def test_images_no_detector_has_are_refused(shape):
    with pytest.raises(WireError) as caught:
        check_image(replace(image(np.zeros((4, 4)), "<u2"), shape=shape))
    assert caught.value.reason == "impossible_value"


def test_dead_pixels_are_those_that_have_the_largest_number():
    pattern = np.ones((4, 4))
    pattern[1, 2] = 65535
    pattern[3, 3] = 65534  # overflowed, not dead
    marked = dead_pixels(image(pattern, "<u2"))
    assert np.argwhere(marked).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "given",
    [
        image(np.ones((4, 4)), "<u2"),
        image(np.full((4, 4), 65535), "<u2"),
        image(np.full((4, 4), -1), "<i2"),
        image(np.full((4, 4), np.inf), "<f4"),
        replace(image(np.ones((4, 4)), "<u2"), data=b"short"),
        replace(image(np.ones((4, 4)), "<u2"), codec="bslz4"),
    ],
    ids=["none", "overexposed", "signed", "real", "cut", "not coded"],
)
def test_other_images_tell_of_no_dead_pixels(given):
    assert dead_pixels(given) is None


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ({"optics": {"energy_eV": 0}}, "energy_eV = 0 eV is impossible: it can be from 10 eV"),
        ({"energy_eV": -80}, "energy_eV = -80 eV is impossible: it can be from 10 eV"),
        ({"energy_eV": float("nan")}, "energy_eV = nan eV is impossible: it can be from 10 eV"),
        ({"energy_eV": [None]}, "energy_eV = None is not a single number: give one number"),
        ({"optics": {"convergence_semiangle_mrad": 1e9}}, "impossible: it can be from 0.001 mrad to 600 mrad"),
        ({"scan": {"step_A": "3 parsec"}}, "scan_step_A: 'parsec' is not a unit for a length: use m, mm"),
        ({"scan": {"step_A": [None, None]}}, "scan_step_A = nan Å is impossible"),
        ({"scan": {"shape": "6x7x8"}}, "'6x7x8' is not two whole numbers, ROWS,COLUMNS: correct the value"),
        ({"scan.shape": [0, 7]}, "impossible scan shape 0 x 7"),
        ({"optics": {"aberrations": "C10"}}, "aberrations 'C10' is not a map of coefficients"),
        ({"optics": 5}, "optics = 5 is not used: write optics as a map of values"),
    ],
)
def test_each_impossible_value_is_told_with_its_remedy_and_costs_no_other(user, told):
    message, _ = armed(replace(HEADER, user={"rotation_deg": 12, **user}))
    (problem,) = message.problems
    assert str(problem).startswith("header of series 7: ") and told in str(problem)
    assert message.header.scan.rotation_deg == 12
    assert message.header.optics.energy_eV is None


def test_values_with_their_units_and_without_a_value_are_understood():
    optics = {"energy_eV": "80 kV", "convergence_semiangle_mrad": None, "aberrations": {"C10": None, "C12a": 5}}
    message, _ = armed(replace(HEADER, user={"scan": {"step_A": "0.03 nm"}, "optics": optics}))
    assert message.problems == ()
    assert message.header.optics.energy_eV == 80e3
    assert message.header.optics.aberrations == {"C12a": 5.0}
    assert message.header.scan.step_A == pytest.approx((0.3, 0.3))
