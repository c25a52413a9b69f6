"""Choices that depend on the epoch, and the settings that accept them."""

import pytest

from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.pypty import import_preset
from ptylive.schema.word_schedule import WordSchedule


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("phase if epoch < 2 else both", ["phase", "phase", "both", "both"]),
        ("'0:100:2' if epoch == 1 else None", [":", "0:100:2", ":", ":"]),
        ("range(epoch % 2, 10, 2)", ["0:10:2", "1:10:2", "0:10:2", "1:10:2"]),
        ("lambda x: [4, 2] if x > 2 else np.arange(7)", ["0:7:1", "0:7:1", "0:7:1", "4, 2"]),
        ("lambda n: list(range(3, 9)) if n < 1 else np.array([5]) if n < 2 else None", ["3:9:1", "5", ":", ":"]),
    ],
)
def test_every_epoch_has_its_word(text, words):
    choices = WordSchedule.parse(text)
    assert [choices.at(epoch) for epoch in range(4)] == words
    assert WordSchedule.parse(choices.text) == choices


@pytest.mark.parametrize(
    "text",
    ["a if b else c", "f(3)", "[1.5]", "range(3, 1, 0)", "range(-1)", "range(1, 2, 3, 4)", "epoch", "1 + 1", "[]",
     "a b", "a if epoch else", "os.arange(3)", "[n for n in (1, 2)]", "lambda x, y: None"],
)  # fmt: skip
def test_what_is_of_no_grammar_is_refused(text):
    with pytest.raises(MetadataError):
        WordSchedule.parse(text)


def test_settings_that_hold_something_back_are_off_by_themselves():
    values = {
        "sequence": "range(epoch % 4, 100, 4) if epoch < 8 else None",
        "probe_part": "phase if epoch < 3 else both",
        "phase_only_obj": "epoch < 4",
    }
    preset = Preset.from_mapping(values)
    assert (*map(preset.value, ("sequence", "probe_part", "phase_only_obj")),) == (None, "both", False)
    second = preset.at(1)
    assert (*map(second.value, ("sequence", "probe_part", "phase_only_obj")),) == ("1:100:4", "phase", True)
    assert preset.at(9).patterns.sequence == ":"
    assert preset.at(9).object.phase_only_obj is False
    assert Preset.from_mapping(preset.model_dump()) == preset


def test_plain_words_stay_plain():
    preset = Preset.from_mapping({"sequence": "0:10,20", "probe_part": "phase", "phase_only_obj": "auto"})
    assert preset.schedules == {}
    assert Preset.from_mapping({"sequence": "list(range(5))"}).patterns.sequence == "0:5:1"
    assert Preset.from_mapping({"sequence": "what if.npy"}).patterns.sequence == "what if.npy"


def test_a_word_that_no_setting_knows_names_its_epoch():
    preset = Preset.from_mapping({"probe_part": "phase if epoch < 3 else everything"})
    with pytest.raises(MetadataError, match="epoch 3: refinement setting probe_part"):
        preset.at(3)


def test_lambdas_of_pypty_become_schedules():
    settings = import_preset(
        {
            "phase_only_obj": "lambda x: x > 3",
            "tune_only_probe_phase": "lambda x: x < 5",
            "tune_only_probe_abs": "lambda x: x > 7 if x else False",
            "sequence": "lambda x: list(range(50)) if x < 3 else None",
            "fancy_sigma": [["3", 2], None],
        }
    ).settings
    assert settings == {
        "phase_only_obj": "epoch > 3",
        "probe_part": "amplitude if (epoch > 7 if epoch else False) else phase if epoch < 5 else both",
        "sequence": "list(range(50)) if epoch < 3 else None",
        "fancy_sigma_phase_px": [3.0, 2.0],
        "fancy_deconvolution": "richardson_lucy",
    }
    for wrong in ({"sequence": "lambda x: np.random.choice(9)"}, {"fancy_sigma": "lambda x: [[3, 2], None]"}):
        with pytest.raises(MetadataError):
            import_preset(wrong)
