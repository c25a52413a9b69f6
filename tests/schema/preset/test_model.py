"""Presets as users write them."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from ptylive.application.extensions import Preset
from ptylive.schema import MetadataError
from ptylive.schema.preset.describe import table
from ptylive.schema.preset.model import BESIDE_GROUPS, USUAL_WORDS
from ptylive.schema.preset.object import ObjectSettings
from ptylive.server.cli.values import parse_assignments


def test_text_values_become_numbers():
    preset = Preset.from_mapping(
        {"num_slices": "4", "total_thickness_A": "100", "sweeps": "3", "update_probe": "false"}
    )
    assert (preset.object.num_slices, preset.solver.sweeps, preset.refined.update_probe) == (4, 3, False)
    assert preset.object.spacings_A == (25.0, 25.0, 25.0)
    assert preset.object.slice_thickness_A == (25.0, 25.0, 25.0, 25.0)


def test_single_distances_and_lists():
    assert Preset(num_slices=3, slice_distances_A=(5.0,)).object.spacings_A == (5.0, 5.0)
    preset = Preset(num_slices=3, slice_distances_A=(5.0, 7.0))
    assert preset.object.spacings_A == (5.0, 7.0)
    assert preset.object.slice_thickness_A == (5.0, 7.0, 7.0)
    assert Preset().object.slice_thickness_A == (0.0,)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"num_slice": 3}, "unknown refinement setting 'num_slice': did you mean 'num_slices'?"),
        ({"epochs": 3}, "unknown refinement setting 'epochs': did you mean 'epoch_max'?"),
        ({"n_epochs": 3}, "unknown refinement setting 'n_epochs': did you mean 'epoch_max'?"),
        ({"thickness": 3}, "unknown refinement setting 'thickness': did you mean 'total_thickness_A'?"),
        ({"loss": "ml"}, "unknown refinement setting 'loss': did you mean 'algorithm'?"),
        ({"scan_step_A": 0.4}, "setting 'scan_step_A': it describes the scan: give it with the scan"),
        ([("num_slices", 3)], "a preset cannot be [('num_slices', 3)]: give a table of settings and their values"),
        ({"num_slices": 0}, "refinement setting num_slices: 0 is too small: it must be at least 1"),
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


def test_settings_stand_in_groups_inside_and_side_by_side_outside():
    preset = Preset.from_mapping({"num_slices": 2, "total_thickness_A": 4, "sweeps": 3, "update_tilts": "epoch > 2"})
    assert (preset.object.num_slices, preset.solver.sweeps, preset.refined.update_tilts) == (2, 3, True)
    assert preset.object == ObjectSettings(num_slices=2, total_thickness_A=4)
    assert preset.model_dump(exclude_unset=True) == {
        "num_slices": 2, "total_thickness_A": 4.0, "sweeps": 3, "update_tilts": "epoch > 2",
    }  # fmt: skip
    assert Preset(object=preset.object, sweeps=3).solver == preset.solver
    written = json.loads(preset.model_dump_json(exclude={"seed"}))
    assert written.keys() == Preset.settings().keys() - {"seed", "schedules", "stages"}
    assert Preset.model_validate(written) == preset


def test_a_copy_takes_settings_by_their_own_names():
    preset = Preset(sweeps=3)
    copied = preset.model_copy(update={"sweeps": 4, "seed": 2, "algorithm": "ml", "schedules": {"seed": "epoch"}})
    assert (copied.solver.sweeps, copied.solver.seed, copied.loss.algorithm) == (4, 2, "ml")
    assert (copied.schedules, preset.solver.sweeps, preset.schedules) == ({"seed": "epoch"}, 3, {})
    assert copied.solver.model_fields_set == {"sweeps", "seed"}
    with pytest.raises(KeyError, match="sweep_steps"):
        preset.model_copy(update={"sweep_steps": 1})


def test_validation_errors_name_the_setting_not_its_group():
    with pytest.raises(ValidationError) as error:
        Preset(seed=-1, window=(3, 1), update_obj=False, update_probe=False, xx=1)
    places = {each["loc"][0] if each["loc"] else "": each["msg"] for each in error.value.errors()}
    assert places.keys() == {"seed", "window", "", "xx"}
    assert places["seed"] == "Input should be greater than or equal to 0"
    assert places[""].endswith("nothing would be refined")
    assert places["xx"] == "unknown setting: docs/settings.md lists the settings"
    with pytest.raises(ValidationError, match="unknown setting: did you mean 'num_slices'"):
        Preset(num_slice=4)


def test_every_setting_has_one_group():
    groups = [each.annotation for name, each in Preset.model_fields.items() if name not in BESIDE_GROUPS]
    names = [name for group in groups for name in group.model_fields]
    assert len(names) == len(set(names))
    assert not set(names) & (set(Preset.model_fields) | set(dir(Preset)))
    assert [*names, *BESIDE_GROUPS] == list(Preset.settings())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("slice_distances_A=10", (10.0,)),
        ("refined_aberrations=C10", ("C10",)),
        ("update_scans=tilts", ("tilts",)),
        ("field_terms=thickness", ("thickness",)),
        ("defocus_spread_modes_A=20", (20.0,)),
        ("defocus_array_A=300", (300.0,)),
        ("tilts_mrad=0,0,3,-4,0,0", ((0.0, 0.0, 3.0, -4.0, 0.0, 0.0),)),
        ("aberrations_array_A=20,0,1", ((20.0, 0.0, 1.0),)),
        ("field_terms=C10,C12a", ("C10", "C12a")),
    ],
)
def test_one_word_number_or_row_is_a_list_of_it_as_people_type_it(setting, value):
    """As in the documents: --set field_terms=thickness, --set slice_distances_A=2."""
    slices = {"num_slices": 3} | ({} if "slice" in setting else {"total_thickness_A": 30})
    assert Preset.from_mapping({**slices, **parse_assignments([setting])}).value(setting.partition("=")[0]) == value


def test_a_switch_is_no_list():
    with pytest.raises(MetadataError, match="slice_distances_A"):
        Preset.from_mapping({"num_slices": 3, "slice_distances_A": True})


def test_usual_words_are_no_settings_and_mean_some():
    assert set(USUAL_WORDS.values()) <= set(Preset.settings())
    assert not set(USUAL_WORDS) & {name.lower() for name in Preset.settings()}


@pytest.mark.parametrize(
    ("name", "value"),
    [("source_size_A", 1e9), ("focal_spread_A", "1 mm"), ("slice_distances_A", [1e8]), ("image_pixel_A", "1 mm")],
)
def test_lengths_that_no_microscope_has_are_refused(name: str, value: object) -> None:
    """Regression: a refinement ran with a source of 10 cm, and said nothing."""
    with pytest.raises(MetadataError, match=rf"refinement setting {name}.*: .* is too large: it must be at most"):
        Preset.from_mapping({name: value})
