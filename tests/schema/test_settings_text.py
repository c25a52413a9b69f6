"""Settings of any kind: accepted, or refused with the field and the reason, in bounded time."""

import contextlib
import json

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from ptylive.application.presets import load_preset
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.settings_text import MAX_TOML, read_toml
from ptylive.server.process.config_file import load_config

DEEP = 100_000
TOML = {
    "a list nested too deeply": ("x = " + "[" * DEEP, "nested too deeply"),
    "a list nested too deeply, closed": ("x = " + "[" * 900 + "]" * 900, "nested too deeply"),
    "tables nested too deeply": ("x = " + "{a=" * 5000, "nested too deeply"),
    "a key of too many parts": ("a." * 20_000 + "a = 1", "more than 32 parts"),
    "a table of too many parts": ("[" + "a." * 20_000 + "a]", "more than 32 parts"),
    "quoted parts": ("'a'.\"b\" . " * 500 + "a = 1", "more than 32 parts"),
    "a number of too many digits": ("epoch_max = " + "9" * 10_000, "4300 digits"),
    "too much": ("#" * (MAX_TOML + 1), "at most|larger than 2 MiB"),
    "a list for a table": ("refine = [1]", "refine is a list"),
    "a number for a table": ("refine = 3", "refine is 3"),
    "a text for a section": ("scan = 'x'", "scan is a text"),
}
PRESETS = {
    "a number for schedules": ("schedules = 3", "schedules is '3'"),
    "a number for a schedule": ("[schedules]\nupdate_probe = 3", "schedules.update_probe is '3'"),
    "no number": ("num_slices = nan", "num_slices"),
    "infinity": ("num_slices = inf", "num_slices"),
    "a schedule without a value": ("update_probe = 'min((-8)**0.5, 1)'", "not a real number"),
}


@pytest.mark.parametrize("case", [*TOML, *PRESETS])
def test_presets_are_refused_with_a_reason(case, tmp_path):
    text, reason = {**TOML, **PRESETS}[case]
    path = tmp_path / "preset.toml"
    path.write_text(text)
    with pytest.raises(MetadataError, match=reason):
        Preset.from_mapping(load_preset(path).settings)


@pytest.mark.parametrize("case", [name for name in TOML if "section" not in name])
def test_configurations_are_refused_with_a_reason(case, tmp_path):
    text, reason = TOML[case]
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(MetadataError, match=reason):
        load_config(path, {}, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * DEEP, "nested too deeply"),
        ('{"a":' * DEEP, "nested too deeply"),
        ('{"refine": [1]}', "refine is a list"),
        ('{"refine": null}', "refine is None"),
        ('{"num_slices": NaN}', "num_slices"),
        ("p = {'epoch_max': " + "1+" * 5000 + "1}", "nested too deeply|neither JSON nor Python"),
        ("p = {'epoch_max': " + "-" * 5000 + "1}", "nested too deeply|neither JSON nor Python"),
        ("#" * (2 * 2**20 + 1), "too large to be read as Python"),
    ],
)
def test_other_presets_are_refused_with_a_reason(text, reason, tmp_path):
    path = tmp_path / "preset.json"
    path.write_text(text)
    with pytest.raises(MetadataError, match=reason):
        Preset.from_mapping(load_preset(path).settings)


def test_long_lines_without_dots_are_read():
    text = f"title = '{'a' * 100_000}'\n{'k' * 100_000} = 1\nnumbers = [{'1.5, ' * 20_000}]"
    assert len(read_toml(text, "text")["numbers"]) == 20_000


WORDS = st.sampled_from([*Preset.settings(), "refine", "scan", "optics", "detector", "schedules", "x"])
EXPRESSIONS = st.lists(
    st.sampled_from("epoch 0 1 1e9 -8 0.5 inf ( ) ** + - * / // % < == if else and not min( max( exp( sqrt( ,".split()),
    max_size=9,
).map(" ".join)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | EXPRESSIONS | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))


@seed(12)
@settings(max_examples=50, deadline=None)
@given(st.dictionaries(WORDS, VALUES, max_size=4), st.integers(0, 20))
def test_any_document_is_a_preset_or_refused(tmp_path_factory, values, epoch):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(values))
    with contextlib.suppress(MetadataError):
        Preset.from_mapping(load_preset(path).settings).at(epoch)


@seed(13)
@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(WORDS, st.sampled_from("= . [ ] [[ ]] { } ' \" \n , # nan 1 1e9 true".split(" "))), max_size=12)
)
def test_any_toml_is_read_or_refused(pieces):
    with contextlib.suppress(MetadataError):
        assert isinstance(read_toml("".join(word + sign for word, sign in pieces), "text"), dict)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scan]\nstep_A = 0,4", "'step_A = 0,4': write a decimal point: step_A = 0.4"),
        ("[server]\nrecord = scans", 'write text in quotes: record = "scans"'),
        ("[optics]\nenergy_eV = 300 keV", 'write text in quotes: energy_eV = "300 keV"'),
        ('[server]\nrecord = "C:\\Users\\me"', "in single quotes: record = 'C:\\Users\\me'"),
        ("[scan]\nstep_A = 1\nstep_A = 2", "'step_A = 2': the same name is given twice"),
        ("[scan]\nstep_A = 1\n[scan]\nshape = 2", "'[scan]': the same name is given twice"),
        ("scan:\n  step_A: 1", "this is TOML, not YAML or JSON"),
        ('{"scan": {}}', "this is TOML, not YAML or JSON"),
        ("[scan", "correct the TOML"),
    ],
)
def test_slips_in_toml_are_told_with_the_line_and_the_remedy(text, said):
    with pytest.raises(MetadataError) as caught:
        read_toml(text, "file.toml")
    assert said in caught.value.line().replace("\\\\", "\\")
