"""Arrays in PyPty's presets: how they are converted, and what is refused."""

import numpy as np
import pytest

from ptylive.schema import MetadataError
from ptylive.schema.pypty import import_preset


def test_roots_and_factors_of_the_wave_become_counts():
    found = import_preset({"beam_current": [1.0, 2.0], "static_background": [[3.0, 0.0], [0.0, 1.0]]})
    assert found.arrays["start_beam_current"].tolist() == [1.0, 4.0]
    assert found.arrays["start_background"].tolist() == [[9.0, 0.0], [0.0, 1.0]]
    halved = import_preset({"static_background": [[2.0]], "data_multiplier": 0.5})
    assert halved.arrays["start_background"].tolist() == [[8.0]]  # of the recorded pattern, before it is multiplied


def test_masks_are_kept_or_named():
    assert import_preset({"masks": np.ones((3, 4, 4)).tolist()}).arrays["masks"].shape == (3, 4, 4)
    assert import_preset({"masks": "masks.npy"}).metadata == {"masks": "masks.npy"}


def test_an_object_of_ones_says_slices_and_modes():
    assert import_preset({"obj": np.ones((1, 1, 1, 3)).tolist()}).settings["obj_modes"] == 3
    found = import_preset({"num_obj_modes": 2, "obj_phase_sigma": 0.3}).settings
    assert found == {"obj_modes": 2, "start_phase_noise_rad": 0.3}
    assert import_preset({"obj_phase_sigma": 0.3}).settings == {}
    assert import_preset({"num_obj_modes": 2}).settings["start_phase_noise_rad"] == 1.0


@pytest.mark.parametrize("name", ["update_step_bfgs", "reduce_factor", "optimism", "min_step"])
def test_constants_of_its_line_search_bring_its_optimiser(name):
    value = {"optimism": 2.0}.get(name, 0.5)
    assert import_preset({name: value}).settings == {"optimizer": "pypty", name: value}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"beam_current": ["a"]}, "beam_current is not an array"),
        ({"beam_current": [float("nan")]}, "not numbers"),
        ({"static_background": [[1.0, 2.0]]}, "static_background has the shape"),
        ({"masks": [[1.0]]}, "masks have the shape"),
        ({"obj": [[[[2.0]]]]}, "cannot contain an array"),
        ({"obj": np.ones((1, 1, 1, 17)).tolist()}, "17 modes"),
    ],
)
def test_what_they_cannot_be_is_said(given, said):
    with pytest.raises(MetadataError, match=said):
        import_preset(given)
