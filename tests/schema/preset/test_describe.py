"""Presets as documents: units, ranges, JSON schema, TOML."""

import json
import math
import tomllib

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.describe import json_schema, range_of, table, to_toml, toml_section, toml_value, unit_of
from ptylive.schema.preset.schedules import SCHEDULABLE

PROPERTIES = json_schema()["properties"]


@pytest.mark.parametrize("name", Preset.settings())
def test_every_setting_has_help_unit_and_range(name):
    assert len(Preset.settings()[name].description) > 10
    assert unit_of(name)
    assert range_of(name)
    assert PROPERTIES[name]["unit"] == unit_of(name)
    if name in SCHEDULABLE:
        assert any(option.get("title") == "expression in epoch" for option in PROPERTIES[name]["anyOf"])


def options(described):
    """All alternatives of a property."""
    return (
        [inner for option in described["anyOf"] for inner in options(option)] if "anyOf" in described else [described]
    )


def beyond(option):
    """A value just outside what an alternative allows; None if every value of this kind is allowed."""
    if "minimum" in option:
        return option["minimum"] - 1
    if "exclusiveMinimum" in option:
        return option["exclusiveMinimum"]
    return None


@pytest.mark.parametrize("name", Preset.settings())
def test_every_setting_refuses_what_is_out_of_its_range(name):
    """Numbers below their bounds, words that are not a choice, text in place of a truth value."""
    kinds = options(PROPERTIES[name])
    wrong = next((value for value in map(beyond, kinds) if value is not None), None)
    if wrong is None:
        text = any(kind.get("type") == "string" and "enum" not in kind and "title" not in kind for kind in kinds)
        wrong = {"no": "text"} if text or name == "schedules" else "neither this nor that"
    with pytest.raises(MetadataError):
        Preset.from_mapping({name: wrong})


@pytest.mark.parametrize("name", Preset.settings())
def test_every_setting_takes_its_default(name):
    default = Preset.settings()[name].get_default()
    assert Preset.from_mapping({name: default}).value(name) == default


def test_the_schema_is_json():
    assert json.loads(json.dumps(json_schema()))["title"] == "Preset"
    assert json_schema()["additionalProperties"] is False


def asked(preset):
    """All settings of a preset, including those added by regularisers and usually left unmentioned."""
    return {name: preset.value(name) for name in Preset.full().settings()}


def test_toml_out_and_in():
    preset = Preset.from_mapping(
        {
            "num_slices": 3,
            "slice_distances_A": [3, 4.5],
            "update_probe_pos": "lambda x: x > 3",
            "window": [0.2, 0.5],
            "beam_ctf": 'a "b"\\c\n.npy',
            "anchor": 0,
        }
    )
    for explained in (False, True):
        assert asked(Preset.from_mapping(tomllib.loads(to_toml(preset, explained=explained))["refine"])) == asked(
            preset
        )
    assert to_toml(Preset()) == "[refine]\n"
    assert "\n\n# refined: Which quantities move.\n\n# refine the object [1]\nupdate_obj = true\n" in to_toml(
        Preset(), explained=True
    )
    assert asked(Preset.from_mapping(tomllib.loads(to_toml(Preset(), explained=True))["refine"])) == asked(Preset())


def test_settings_written_as_toml_read_back():
    assert tomllib.loads(toml_section("a", {"x": math.inf, "y": [1, [2.5]], "z": True, "none": None})) == {
        "a": {"x": math.inf, "y": [1, [2.5]], "z": True}
    }
    assert toml_section("a", {"none": None}) == ""
    assert tomllib.loads(f"x = {toml_value([{'a': 1, 'b c': [True]}, {}])}") == {"x": [{"a": 1, "b c": [True]}, {}]}
    with pytest.raises(TypeError, match="set"):
        toml_value({1, 2})


def test_the_table_has_a_row_for_every_setting():
    rows = [line for line in table().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(Preset.full().settings())
    assert all(row.count(" | ") == 4 for row in rows)
    assert "\n### solver\n\nEpochs, steps, and the constants of the line search.\n\n| key |" in table()
