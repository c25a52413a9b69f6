"""Settings that depend on the epoch."""

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.preset.model import _cast
from ptylive.schema.preset.schedules import SCHEDULABLE, parsed


def test_a_setting_may_be_an_expression():
    preset = Preset.from_mapping(
        {
            "update_probe_pos": "lambda x: x > 5",
            "atv_weight": "1e-3 * 0.5 ** epoch",
            "hist_length": "10 if epoch else 0",
        }
    )
    assert preset.schedules == {
        "update_probe_pos": "epoch > 5", "atv_weight": "0.001 * 0.5 ** epoch", "hist_length": "10 if epoch else 0",
    }  # fmt: skip
    assert (*map(preset.value, ("update_probe_pos", "atv_weight", "hist_length")),) == (True, 1e-3, 0)
    assert not preset.at(5).refined.update_probe_pos
    sixth = preset.at(6)
    assert (sixth.refined.update_probe_pos, sixth.solver.hist_length, sixth.schedules) == (True, 10, {})
    assert sixth.regularisers.atv_weight == pytest.approx(1e-3 / 64)


def test_it_survives_being_written_and_read():
    preset = Preset.from_mapping({"beta_wedge": "1 if epoch == 3 else 0"})
    assert Preset.model_validate_json(preset.model_dump_json()) == preset
    assert Preset.from_mapping(preset.model_dump()) == preset
    assert preset.model_dump()["beta_wedge"] == "1 if epoch == 3 else 0"
    assert Preset.from_mapping({**preset.model_dump(), "beta_wedge": 2.0}).schedules == {}


def test_constants_and_words_are_no_schedules():
    preset = Preset.from_mapping({"atv_weight": "2 * 3", "update_probe": "false", "do_charge_flip": "True"})
    assert preset.schedules == {}
    assert (*map(preset.value, ("atv_weight", "update_probe", "do_charge_flip")),) == (6.0, False, True)
    assert preset.at(7) is preset


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"num_slices": "epoch + 1"}, "num_slices"),
        ({"schedules": {"num_slices": "epoch + 1"}}, "num_slices cannot follow a schedule"),
        ({"atv_weight": "x + 1"}, "schedule 'x \\+ 1': 'x' is not allowed"),
        ({"atv_weight": "epoch - 1"}, "atv_weight: -1 is too small: it must be at least 0"),
    ],
)
def test_mistakes_are_named(values, line):
    with pytest.raises(MetadataError, match=line):
        Preset.from_mapping(values)


def test_values_out_of_range_name_their_epoch():
    preset = Preset.from_mapping({"wolfe_c1_constant": "0.1 * (epoch + 1)"})
    with pytest.raises(MetadataError, match="epoch 9: refinement setting wolfe_c1_constant"):
        preset.at(9)
    silent = Preset.from_mapping({"update_obj": "epoch > 0", "update_probe": "epoch > 0"})
    with pytest.raises(MetadataError, match=r"epoch 0: .* nothing would be refined"):
        silent.at(0)


SCHEDULED = {
    "update_probe_pos": "epoch > 1",
    "atv_weight": "1e-3 * 0.5 ** epoch",
    "hist_length": "10 if epoch else 0",
    "wolfe_c1_constant": "0.1 * (epoch + 1)",
    "phase_only_obj": "epoch < 2",
    "probe_part": "'phase' if epoch < 2 else 'both'",
    "sequence": "'0::2' if epoch == 1 else ':'",
    "update_thickness": "epoch > 3",
}


def written_and_read(preset: Preset, epoch: int) -> Preset:
    """The settings of an epoch as :meth:`Preset.at` made them at first: by writing all and reading them again."""
    values = {name: _cast(Preset, name, parsed(name, text).at(epoch)) for name, text in preset.schedules.items()}
    return Preset.from_mapping({**preset.model_dump(), **values})


@pytest.mark.parametrize("more", [{}, {"num_slices": 4, "total_thickness_A": 80.0, "seed": 3}])
@pytest.mark.parametrize("name", [*SCHEDULED, "all"])
def test_the_settings_of_an_epoch_are_those_of_a_preset_with_its_values(name, more):
    chosen = SCHEDULED if name == "all" else {name: SCHEDULED[name]}
    preset = Preset.from_mapping({**more, **chosen})
    for epoch in range(5):
        expected, line = None, ""
        try:
            expected = written_and_read(preset, epoch)
        except MetadataError as error:
            line = f"epoch {epoch}: {error}"
        if expected is None:
            with pytest.raises(MetadataError) as caught:
                preset.at(epoch)
            assert str(caught.value) == line
            continue
        found = preset.at(epoch)
        assert found == expected and type(found) is type(expected)
        assert found.model_fields_set == expected.model_fields_set
        for group in Preset.groups():
            assert getattr(found, group).model_fields_set == getattr(expected, group).model_fields_set
        assert found.model_dump() == expected.model_dump()


def test_the_settings_of_an_epoch_are_not_all_checked_again(monkeypatch):
    """Regression: a whole preset was written and read several times in every epoch."""
    preset = Preset.from_mapping({**SCHEDULED, "num_slices": 4, "total_thickness_A": 80.0})
    monkeypatch.delattr(Preset, "from_mapping")
    assert [preset.at(epoch).solver.hist_length for epoch in range(3)] == [0, 10, 10]


def test_every_schedulable_setting_is_one():
    assert set(Preset.settings()) >= SCHEDULABLE
