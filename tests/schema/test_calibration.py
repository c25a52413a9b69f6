"""Calibration values with their origin and uncertainty, and the forms in which they are stored."""

import json

import numpy as np
import pytest

from ptylive.schema import Calibration, MetadataError, Origin, Quantity
from ptylive.schema.advice.orientation import rival_words
from ptylive.schema.calibration import RIVALS, RivalOrientation

GIVEN = Quantity(80e3, Origin.GIVEN)
FOUND = Quantity(12.0, Origin.ESTIMATED, 0.5)
CENTRE = Quantity((15.5, 16.0), Origin.GIVEN)


def having(**values):
    return Calibration(values)


@pytest.mark.parametrize("stored", ["attributes", "plain"])
def test_it_comes_back_from_a_file_and_from_a_message(stored):
    calibration = having(energy_eV=GIVEN, rotation_deg=FOUND, beam_center_px=CENTRE)
    if stored == "plain":
        back = Calibration.from_plain(json.loads(json.dumps(calibration.to_plain())))
    else:
        attributes = calibration.to_attributes()
        assert attributes["rotation_deg_uncertainty"] == 0.5 and "energy_eV_uncertainty" not in attributes
        back = Calibration.from_attributes(attributes)
    assert back == calibration


def test_attributes_without_an_origin_and_unknown_values_are_left_out():
    assert Calibration.from_attributes({"energy_eV": 80e3, "rotation_deg_origin": "guessed"}) == Calibration()
    assert having(depth_A=Quantity(None, Origin.DEFAULT)).to_attributes() == {}


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "found from the disc once energy_eV and convergence_semiangle_mrad are known"),
        ({"energy_eV": GIVEN}, "found from the disc once convergence_semiangle_mrad is known"),
        ({"energy_eV": GIVEN, "convergence_semiangle_mrad": FOUND}, "shows no bright disc"),
    ],
)
def test_a_pixel_that_is_not_known_says_what_it_follows_from(known, words):
    with pytest.raises(MetadataError, match=words):
        having(**known).require("detector_pixel_invA", "the refinement")
    with pytest.raises(MetadataError, match=r"the refinement needs scan_step_A\n") as refused:
        having(**known).require("scan_step_A", "the refinement")
    assert refused.value.hint == "give it with --set scan_step_A=…"


def test_rivals_are_read_from_numbers_and_a_damaged_entry_has_none():
    rows = (1.0, 30.0, -50.0, 0.0, float("nan"), 20.0, 0.0, -60.0, 10.0)
    (first, second) = having(**{RIVALS: Quantity(rows, Origin.ESTIMATED)}).rivals
    assert first == RivalOrientation(True, 30.0, -50.0) and not second.mirrored
    assert rival_words(first) == "the other handedness, 30.0° with C10 -50 Å"
    assert rival_words(second) == "-60.0° with C10 10 Å"
    for damaged in ((1.0, 2.0), "none", (("a", 1, 2),)):
        assert having(**{RIVALS: Quantity(damaged, Origin.ESTIMATED)}).rivals == ()
    assert having(**{RIVALS: Quantity(rows, Origin.ESTIMATED)}, energy_eV=GIVEN).without_rivals() == having(
        energy_eV=GIVEN
    )


@pytest.mark.parametrize(
    ("origin", "uncertainty", "doubted"),
    [
        (Origin.ESTIMATED, 5.0, True),
        (Origin.UNDECIDED, 5.0, True),
        (Origin.ESTIMATED, 4.9, False),
        (Origin.ESTIMATED, None, False),
        (Origin.GIVEN, 5.0, False),
    ],
)
def test_an_astigmatism_that_may_be_zero_is_in_doubt_unless_it_was_stated(origin, uncertainty, doubted):
    calibration = having(C12a=Quantity(3.0, origin, uncertainty), C12b=Quantity(-4.0, origin, uncertainty))
    assert calibration.c12_size_A == 5.0
    assert calibration.astigmatism_is_doubted is doubted
    assert calibration.with_astigmatism_doubted().astigmatism_is_doubted is (origin is not Origin.GIVEN)
    assert not having(C12a=Quantity(0.0, Origin.ESTIMATED, 1.0)).astigmatism_is_doubted, "nothing was found"


def test_what_the_user_gave_may_be_given_again():
    calibration = having(
        energy_eV=GIVEN,
        rotation_deg=FOUND,
        beam_center_px=CENTRE,
        detector_pixel_mrad=Quantity(1.0, Origin.GIVEN),
        detector_pixel_invA=Quantity(0.024, Origin.GIVEN),
    )
    assert calibration.given(in_place=False) == {
        "energy_eV": 80e3,
        "beam_center_px": (15.5, 16.0),
        "detector_pixel_mrad": 1.0,
    }
    assert "beam_center_px" not in calibration.given(in_place=True)
    only_frequency = having(detector_pixel_invA=Quantity(0.024, Origin.GIVEN))
    assert only_frequency.given(in_place=True) == {"detector_pixel_invA": 0.024}


def test_origins_tell_what_was_found():
    calibration = having(energy_eV=GIVEN, rotation_deg=FOUND)
    assert calibration.is_found("rotation_deg") and not calibration.is_found("energy_eV")
    assert not calibration.is_found("depth_A") and calibration.origin("depth_A") is None
    assert calibration.of_patterns and not having(energy_eV=GIVEN).of_patterns


def test_values_that_are_not_known_have_neutral_ones():
    empty = Calibration()
    assert (empty.wavelength_A, empty.aberrations, empty.rotation_deg, empty.transform) == (None, {}, 0.0, "none")
    found = having(energy_eV=GIVEN, C30=Quantity(1e4, Origin.GIVEN), detector_transform=Quantity("flip_rows", "given"))
    assert found.aberrations == {"C30": 1e4} and found.transform == "flip_rows"
    np.testing.assert_allclose(found.wavelength_A, 0.0417572, rtol=1e-5)
