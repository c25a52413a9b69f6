"""Stages of a run: settings that override those shared by all stages."""

import json
import tomllib

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.describe import to_toml
from ptylive.schema.preset.stages import settings_in

THICK = {"num_slices": 3, "total_thickness_A": 30.0}
TWO = [{"name": "coarse", "window_px": 32}, {**THICK, "update_probe_pos": "epoch > 2"}]


def staged(stages: object, **shared: object) -> Preset:
    return Preset.from_mapping({**shared, "stages": stages})


def test_a_stage_is_the_preset_with_its_own_settings_over_it():
    preset = staged(TWO, sweeps=3, window_px=64, epoch_max=9)
    coarse, fine = preset.in_stages()
    assert (coarse.name, coarse.preset.patterns.window_px, coarse.preset.object.num_slices) == ("coarse", 32, "auto")
    assert (fine.name, fine.preset.patterns.window_px, fine.preset.object.num_slices) == ("", 64, 3)
    assert fine.preset.schedules == {"update_probe_pos": "epoch > 2"}
    assert [each.preset.solver.sweeps for each in (coarse, fine)] == [3, 3]
    assert fine.said == {"num_slices", "total_thickness_A", "update_probe_pos"}
    assert coarse.preset.stages == () and preset.final == fine.preset


def test_without_stages_there_is_the_preset_alone():
    preset = Preset(sweeps=3)
    (only,) = preset.in_stages()
    assert only.preset is preset and only.said == {"sweeps"}
    assert "stages" not in preset.model_dump()


def test_stages_are_written_and_read_back():
    preset = staged(TWO, sweeps=3)
    assert Preset.model_validate_json(preset.model_dump_json()) == preset
    table = tomllib.loads(to_toml(preset))
    assert Preset.from_mapping({**table["refine"], "stages": table["stage"]}) == preset
    assert json.loads(preset.model_dump_json())["stages"] == TWO
    assert preset.model_copy(update={"stages": ()}) == Preset(sweeps=3)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ("fine", r"stages is 'fine'.*\[\[stage\]\]"),
        ({"name": "fine"}, r"stages is .*\[\[stage\]\]"),
        ([3], "stage 1 is '3'"),
        ([{}] * 21, "there are 21 stages"),
        ([{"name": 3}], "stage 1 has the name '3'"),
        ([{"name": "a\nb"}], "stage 1 has the name"),
        ([{"stages": []}], "stage 1 contains stages"),
        ([{}, {"start_object": "a.h5"}], "stage 2 has start_object.*leave start_object to stage 1"),
        ([{}, {"start_probe": "a.h5"}], "stage 2 has start_probe"),
        ([{"start_map": "wdd_phase"}], "stage 1 has start_map"),
        ([{}, {"name": "thick", "num_slices": 3}], r"stage 2 \(thick\).*needs total_thickness_A"),
        ([{"windw_px": 3}], "stage 1: unknown refinement setting 'windw_px': did you mean 'window_px'"),
    ],
)
def test_what_is_wrong_is_named_with_its_stage(stages, said):
    with pytest.raises(MetadataError, match=said) as error:
        staged(stages)
    assert error.value.line().count("correct the value or leave it out") == 1


def test_the_first_stage_may_begin_from_a_file():
    assert staged([{"start_object": "a.h5"}, {}]).in_stages()[0].preset.start.start_object == "a.h5"


@pytest.mark.parametrize("head", ["[refine]\nsweeps = 3\n", "sweeps = 3\n"])
def test_documents_hold_stages_beside_the_settings_of_all(head):
    read = tomllib.loads(head + "[[stage]]\nname = 'a'\nseed = 1\n[[stage]]\n")
    assert settings_in(read) == {"sweeps": 3, "stages": [{"name": "a", "seed": 1}, {}]}
    assert "stages" not in settings_in(tomllib.loads(head))
