"""Presets as people write them."""

from pathlib import Path

import pytest

from ptylive.application.extensions import Preset
from ptylive.schema import MetadataError
from ptylive.schema.preset.describe import table


def test_text_values_become_numbers():
    preset = Preset.from_mapping(
        {"num_slices": "4", "total_thickness_A": "100", "sweeps": "3", "update_probe": "false"}
    )
    assert (preset.num_slices, preset.sweeps, preset.update_probe) == (4, 3, False)
    assert preset.spacings_A == (25.0, 25.0, 25.0)
    assert preset.slice_thickness_A == (25.0, 25.0, 25.0, 25.0)


def test_single_distances_and_lists():
    assert Preset(num_slices=3, slice_distances_A=(5.0,)).spacings_A == (5.0, 5.0)
    preset = Preset(num_slices=3, slice_distances_A=(5.0, 7.0))
    assert preset.spacings_A == (5.0, 7.0)
    assert preset.slice_thickness_A == (5.0, 7.0, 7.0)
    assert Preset().slice_thickness_A == (0.0,)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"num_slice": 3}, "unknown refinement setting 'num_slice': did you mean 'num_slices'?"),
        ({"num_slices": 0}, "refinement setting num_slices: Input should be greater than or equal to 1"),
        ({"num_slices": 3}, "refinement settings: num_slices = 3 needs total_thickness_A or slice_distances_A"),
        ({"update_obj": False, "update_probe": False}, "nothing would be refined"),
        ({"num_slices": 4, "slice_distances_A": [1, 2]}, "slice_distances_A has 2 values"),
    ],
)
def test_mistakes_are_named_with_a_remedy(values, line):
    with pytest.raises(MetadataError) as error:
        Preset.from_mapping(values)
    assert line in error.value.line()


def test_every_setting_is_explained_in_the_document():
    document = (Path(__file__).resolve().parents[3] / "docs" / "settings.md").read_text(encoding="utf-8")
    for row in table().splitlines():
        assert row in document, "run tools/write_tables.py"
