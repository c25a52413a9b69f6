"""Settings of the map to start from: single, in tables, combined; checked by the code that knows the maps."""

import pytest

from ptylive.application.extensions import Preset
from ptylive.schema import MetadataError
from ptylive.schema.preset import start
from ptylive.schema.preset.describe import to_toml
from ptylive.schema.settings_text import read_toml


@pytest.mark.parametrize(
    "written",
    [
        {"ssb.crop": 0.5},
        {"ssb": {"crop": 0.5}},
        {"map_settings": {"ssb.crop": 0.5}},
        {"map_settings": {"ssb": {"crop": 0.5}}},
        {"map_settings": {"ssb.crop": 2}, "ssb.crop": 0.5},
        {"SSB.crop": 0.5},
    ],
)
def test_however_they_are_written(written):
    preset = Preset.from_mapping({"start_map": "ssb", **written})
    assert preset.start.map_settings == {"ssb.crop": 0.5}
    assert preset.model_dump(exclude_unset=True) == {"start_map": "ssb", "map_settings": {"ssb.crop": 0.5}}
    text = to_toml(preset)
    assert Preset.from_mapping(read_toml(text, "it")["refine"]).start == preset.start


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"ssb.cropp": 1}, "did you mean 'ssb.crop'"),
        ({"ssbb.crop": 1}, "did you mean 'ssb'"),
        ({"ssb.crop": 9}, "ssb.crop=9 is not possible"),
        ({"start_map": "ssb", "map_settings": {"ssb.cropp": 1}}, "did you mean 'ssb.crop'"),
        ({"map_settings": {"crop": 1}}, "map_settings has 'crop', which is not a map setting"),
        ({"map_settings": 3}, "map_settings is '3'"),
        ({"map_setings": {"ssb.crop": 1}}, "did you mean 'map_settings'"),
        ({"object": {"num_slices": 3}}, "unknown refinement setting 'object'"),
        ({"wdd.epsilon": 0.1}, "wdd.epsilon is set, but the refinement starts from obf: set start_map"),
        ({"start_map_amplitude": True}, "obf has no modulus: set start_map to ssb or wdd_phase"),
    ],
)
def test_what_is_refused(written, says):
    with pytest.raises(MetadataError) as refused:
        Preset.from_mapping(written)
    assert says in refused.value.line()
    assert "\n" not in refused.value.line()


def test_wdd_is_the_method_of_its_phase():
    preset = Preset.from_mapping({"start_map": "wdd_phase", "wdd.eps_wiener": 0.1, "start_map_amplitude": True})
    assert preset.start.map_settings == {"wdd.epsilon": 0.1}


def test_where_nobody_knows_maps_names_are_left_to_others(monkeypatch):
    monkeypatch.setattr(start, "_reads", [])
    assert start.gathered({"ssb.crop": 1, "seed": 2}, {"seed"}) == {"ssb.crop": 1, "seed": 2}
    assert start.checked_map_settings({"ssb.crop": 1}) == {"ssb.crop": 1}
