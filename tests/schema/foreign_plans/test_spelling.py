"""Metadata under other programs' names."""

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.foreign_plans.spelling import OTHER_NAMES, in_our_words
from ptylive.schema.metadata import NAMES, array_name


def test_every_other_name_means_a_name_of_ours_and_is_none_itself():
    assert [
        one for one, meant in OTHER_NAMES.items() if meant.name not in NAMES and array_name(meant.name) is None
    ] == []
    assert not OTHER_NAMES.keys() & NAMES.keys()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"force_com_rotation": 15}, {"rotation_deg": -15.0}),
        ({"PLRotation_deg": 15}, {"rotation_deg": -15.0}),
        ({"acc_voltage": 80}, {"energy_eV": 80e3}),
        ({"force_com_transpose": True}, {"detector_transform": "transpose"}),
        ({"force_com_transpose": False}, {"detector_transform": "none"}),
        ({"scan_size": [4, 5], "C10": 3}, {"scan_shape": [4, 5], "C10": 3}),
    ],
)
def test_what_differs_is_converted(given, meant):
    assert in_our_words(given) == meant


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rotation_deg": -15, "force_com_rotation": 15}, "rotation_deg is given twice"),
        ({"force_com_rotation": "north"}, "force_com_rotation = 'north' is not a number"),
        ({"force_com_transpose": 1}, "neither true nor false"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(given, words):
    with pytest.raises(MetadataError, match=words):
        in_our_words(given)
