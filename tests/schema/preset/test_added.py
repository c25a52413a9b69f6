"""Settings and choices that extensions add to the preset: accepted, checked and documented like its own."""

import json

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset, added
from ptylive.schema.preset.added import Setting, declare, declare_choice, declared, provided_by
from ptylive.schema.preset.describe import json_schema, range_of, table, to_toml, unit_of
from ptylive.schema.pypty import import_preset

SETTINGS = (
    Setting("grain_weight", 0.0, "weight of grain", at_least=0.0, at_most=1e30),
    Setting("grain_px", 3, "size of a grain, pixels", above=0, below=100, schedulable=False, pypty="grain"),
    Setting("grain_kind", "round", "shape of a grain", choices=("round", "square")),
    Setting("grain_everywhere", False, "whether every pixel has one", unit="grains"),
)


@pytest.fixture
def grain(monkeypatch):
    """A source of settings and a choice, which counts how often it is called."""
    calls = []

    def source():
        calls.append(None)
        if len(calls) == 1:
            declare("grain", SETTINGS, taken=Preset.settings())
            declare_choice("grain", "algorithm", "grain_loss", "a loss of grain")

    monkeypatch.setattr(added, "_declared", added._Declared({}, {}, {}, []))
    provided_by(source)
    provided_by(source)
    return calls


def test_nobody_is_asked_for_what_the_preset_has_itself(grain):
    Preset.from_mapping({"num_slices": 1, "algorithm": "ml", "atv_weight": "1 if epoch < 3 else 0"}).at(2)
    assert grain == []
    assert Preset.from_mapping({"grain_px": 5}).value("grain_px") == 5


def test_added_settings_are_settings_like_others(grain):
    preset = Preset.from_mapping(
        {"grain_weight": "0.5 if epoch < 2 else 0", "grain_px": "4", "algorithm": "grain_loss"}
    )
    assert isinstance(preset, Preset)
    assert [preset.at(epoch).value("grain_weight") for epoch in (1, 2)] == [0.5, 0.0]
    assert (preset.value("grain_px"), preset.value("grain_kind"), preset.loss.algorithm) == (4, "round", "grain_loss")
    assert Preset.from_mapping(json.loads(preset.model_dump_json())) == preset
    assert preset.model_copy(update={"algorithm": "ml"}).value("grain_px") == 4
    assert Preset().value("grain_weight") == 0.0


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"grane_px": 3}, "unknown refinement setting 'grane_px': did you mean 'grain_px'?"),
        ({"grain_px": 100}, "refinement setting grain_px: 100 is too large: it must be below 100"),
        ({"grain_px": 1.5}, "refinement setting grain_px: 1.5 is not a whole number"),
        ({"grain_px": "3 if epoch < 2 else 1"}, "grain_px: '3 if epoch < 2 else 1' is not a whole number"),
        ({"grain_kind": "long"}, "refinement setting grain_kind: Input should be 'round' or 'square'"),
        ({"schedules": {"grain_px": "epoch + 1"}}, "grain_px cannot follow a schedule"),
        ({"algorithm": "grains"}, "refinement setting algorithm: Input should be 'auto', 'lsq_sqrt'"),
    ],
)
def test_mistakes_have_the_same_messages(grain, values, line):
    with pytest.raises(MetadataError) as error:
        Preset.from_mapping(values)
    assert line in error.value.line()


def test_they_stand_in_every_document(grain):
    toml = to_toml(Preset.from_mapping({"grain_px": 7, "grain_weight": "epoch"}))
    assert toml.splitlines() == ["[refine]", 'grain_weight = "epoch"', "grain_px = 7"]
    assert "# weight of grain [1]\ngrain_weight = 0.0" in to_toml(Preset(), explained=True)
    assert "| `grain_px` | 3 | pixels | whole number > 0, < 100 | size of a grain, pixels (PyPty: grain) |" in table()
    assert unit_of("grain_everywhere") == "grains"
    assert range_of("grain_weight") == "number ≥ 0, ≤ 1e+30 or expression in epoch"
    assert range_of("grain_kind") == "round, square"
    assert json_schema()["properties"]["grain_everywhere"]["unit"] == "grains"
    assert "grain_loss: a loss of grain" in Preset.full().settings()["algorithm"].description


def test_a_pypty_preset_reaches_them_by_pyptys_name(grain):
    assert import_preset({"grain": 9, "atv_weight": 1}).settings == {"grain_px": 9, "atv_weight": 1}
    with pytest.raises(MetadataError, match="grane: PyPty has no such parameter"):
        import_preset({"grane": 9})


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ((Setting("grain_px", 1, "another"),), "other: the setting grain_px is already used by grain"),
        (
            (Setting("atv_weight", 1.0, "another"),),
            "other: the setting atv_weight is already used by the preset itself",
        ),
        ((Setting("x", 1, "short"),), "other: 'x' is not a valid name for a setting"),
        ((Setting("other", None, "nothing"),), "other: other needs a default"),
        ((Setting("other", "a", "words", choices=("b",)),), "the default of other is not one of its choices"),
        ((Setting("other", 1, "x"), Setting("other", 2, "y")), "other names a setting twice"),
    ],
)
def test_a_name_has_one_owner(grain, settings, line):
    before = declared()
    with pytest.raises(MetadataError) as error:
        declare("other", (Setting("fine_px", 1, "fine by itself"), *settings), taken=Preset.settings())
    assert line in error.value.line()
    assert declared() == before
    with pytest.raises(MetadataError, match="algorithm = grain_loss is already used"):
        declare_choice("other", "algorithm", "grain_loss", "")
