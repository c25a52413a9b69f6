"""Slices and form of the object."""

import pytest

from ptylive.schema.preset.object import ObjectSettings


@pytest.mark.parametrize(
    ("given", "spacings_A", "thickness_A"),
    [
        ({"num_slices": 1}, (), (0.0,)),
        ({"num_slices": 1, "total_thickness_A": 40.0}, (), (40.0,)),
        ({"num_slices": 4, "total_thickness_A": 40.0}, (10.0,) * 3, (10.0,) * 4),
        ({"num_slices": 3, "slice_distances_A": 5.0}, (5.0, 5.0), (5.0, 5.0, 5.0)),
        ({"num_slices": 3, "slice_distances_A": (5.0, 8.0)}, (5.0, 8.0), (5.0, 8.0, 8.0)),
        ({"slice_distances_A": (5.0, 8.0)}, (5.0, 8.0), (5.0, 8.0, 8.0)),
        ({"slice_distances_A": (5.0,)}, (), (5.0,)),
        ({"total_thickness_A": 40.0}, (), (40.0,)),
    ],
)
def test_slices_share_the_thickness(given, spacings_A, thickness_A):
    settings = ObjectSettings.model_validate(given)
    assert settings.slices == len(thickness_A)
    assert settings.spacings_A == spacings_A
    assert settings.slice_thickness_A == thickness_A


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"num_slices": 4, "slice_distances_A": (5.0, 8.0)}, "has 2 values: give one, or num_slices - 1 = 3"),
        ({"num_slices": 4}, "num_slices = 4 needs total_thickness_A or slice_distances_A"),
        ({"weakly_damped_obj": True, "phase_only_obj": True}, "exclude each other"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        ObjectSettings.model_validate(given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "as it is"),
        ({"phase_only_obj": True}, "phase"),
        ({"phase_only_obj": False}, "complex"),
        ({"weakly_damped_obj": True}, "weakly damped"),
    ],
)
def test_the_form_in_words(given, words):
    assert ObjectSettings.model_validate(given).words("as it is") == words
