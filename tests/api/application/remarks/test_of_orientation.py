"""What the data left undecided about a calibration, or contradict, is said; nothing else is."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from ptylive.application.remarks.of_orientation import (
    contradicting_maps_remarks,
    given_half_turn_remarks,
    given_orientation_remarks,
    orientation_remarks,
)
from ptylive.schema import Calibration, LiveMap, Origin, Quantity


def test_what_the_data_did_not_tell_of_the_orientation_is_said():
    told = Calibration().having(
        rotation_deg=Quantity(179.8, Origin.ESTIMATED, 0.4), detector_transform=Quantity("none", Origin.ESTIMATED)
    )
    assert orientation_remarks(told) == []
    open_ = told.having(
        rotation_deg=Quantity(179.8, Origin.UNDECIDED, 0.4), detector_transform=Quantity("none", Origin.UNDECIDED)
    )
    rotation, transform = orientation_remarks(open_)
    assert rotation.startswith("rotation_deg is undecided, 179.8")
    assert transform.startswith("detector_transform is undecided, none is used")
    rival = orientation_remarks(told.having(rival_orientations=Quantity((0.0, 40.0, -80.0), Origin.ESTIMATED)))
    assert [words.partition(":")[0] for words in rival] == [
        "the data do not exclude another orientation (40.0° with C10 -80 Å)"
    ]
    (said,) = orientation_remarks(told.having(rotation_deg=Quantity(0.0, Origin.DEFAULT)))
    assert said.startswith("rotation_deg is undecided, 0 is used"), "too few points"


def measured(rotation_deg=10.0, *, transposed=False, sign_trusted=True, curl=0.01):
    fit = SimpleNamespace(rotation_deg=rotation_deg, transposed=transposed, sign_trusted=sign_trusted, curl=curl)
    return SimpleNamespace(fit=fit, spread_deg=0.3, trusted=curl < 0.2)


def oriented(rotation_deg, origin=Origin.GIVEN):
    words = Quantity("none", Origin.ESTIMATED)
    return Calibration().having(rotation_deg=Quantity(rotation_deg, origin), detector_transform=words)


@pytest.mark.parametrize(
    ("rotation_deg", "seen", "said"),
    [
        (10.0, measured(), None),
        (18.0, measured(), None),
        (-10.0, measured(), "the data show 10°"),
        (190.0, measured(), "shows another 180°"),
        (190.0, measured(sign_trusted=False), None),
        (10.0, measured(transposed=True), "a further transposition"),
        (-10.0, measured(curl=0.5), None),
        (-10.0, None, None),
    ],
)
def test_a_given_orientation_that_the_data_contradict_is_told(rotation_deg, seen, said):
    """Regression: py4DSTEM's angle has the opposite sign, which smeared or reversed phases without a warning."""
    found = given_orientation_remarks(oriented(rotation_deg), seen)
    assert [said in one for one in found] == ([] if said is None else [True])
    assert given_orientation_remarks(oriented(rotation_deg, Origin.ESTIMATED), seen) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"C10": 71.4}, "defocus_A -71.4 was given, but the dark field shows the other sign"),
        ({"rotation_deg": 10.0}, "rotation_deg 10 was given, but the dark field shows another 180°"),
        ({"rotation_deg": 10.0, "C10": 0.0}, "rotation_deg 10 was given, but the dark field shows another 180°"),
        ({"rotation_deg": 10.0, "C10": 71.4}, "defocus_A -71.4 and rotation_deg 10 were given, but the dark field"),
        ({}, None),
    ],
)
def test_a_given_half_turn_that_the_dark_field_contradicts_is_told(given, said):
    """C10 is the negative of the defocus that was given."""
    calibration = Calibration().having(**{name: Quantity(value, Origin.GIVEN) for name, value in given.items()})
    found = given_half_turn_remarks(calibration, contradicted=True)
    assert [one.startswith(said) for one in found] == ([] if said is None else [True])
    assert given_half_turn_remarks(calibration, contradicted=False) == []


def test_what_the_dark_field_says_of_a_thick_crystal_is_not_told():
    """Regression: 10 nm of SrTiO₃ with its true rotation given was reported to be half a turn off."""
    half_off, smeared = oriented(190.0), oriented(-10.0)
    assert given_orientation_remarks(half_off, measured(), thick=True) == []
    assert len(given_orientation_remarks(smeared, measured(), thick=True)) == 1


def seen_as(name, data, **doubts):
    return LiveMap(name, data.astype(np.float32), "rad", (0.5, 0.5), 1, name, **doubts)


def test_maps_that_show_the_opposite_of_each_other_are_named():
    """Apart from a slow slope, which integration puts into iDPC, and whatever the sampling of either map."""
    detail = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(64, 64)), 2.0)
    slope = np.linspace(0, 2, 32)[:, None]
    idpc, alike, faint = detail[::2, ::2], seen_as("wdd_phase", detail), seen_as("wdd_phase", -detail, faint=True)
    inverted = seen_as("wdd_phase", -detail)
    found = contradicting_maps_remarks([seen_as("idpc", idpc - slope), inverted])
    assert len(found) == 1
    assert "idpc and wdd_phase show the opposite" in found[0]
    for maps in ([alike], [faint], [], [seen_as("wdd_phase", 0 * detail)]):
        assert contradicting_maps_remarks([seen_as("idpc", idpc - slope), *maps]) == []
