"""Mistakes in a configuration file are reported with file, field and remedy."""

import re
from pathlib import Path

import pytest

from ptylive.schema import MetadataError
from ptylive.server.process.config_file import load_config

MISTAKES = {
    "a key above all tables": ("energy_eV = 80e3", "energy_eV is written above all tables: move it below .*optics"),
    "a setting above all tables": ("record = 'scans'", "record is written above all tables: move it below .*server"),
    "a misspelt key above all tables": ("energy_ev = 80e3", "energy_ev is not in any table: did you mean 'energy_eV'"),
    "one quantity twice": ("[optics]\nC10 = 100\ndefocus_A = 300", "defocus_A and C10 have the same meaning"),
    "two pixels": ("[detector]\npixel_mrad = 1\npixel_invA = 1", "have the same meaning"),
    "a threshold of nobody": ("[server]\nchannel = 'threshold_2'", "channel .* not of native"),
    "the home of nobody": ("[server]\nrecord = '~nobody-here/x'", r"\[server\]: record: .*give the full path"),
    "keys of nobody": ("[security]\nkeys = '~nobody-here/x'", r"\[security\]: security.keys: .*give the full path"),
    "a refinement": ("[refine]\nsweep = 8", r"\[refine\]: unknown refinement setting 'sweep'"),
    "a basis": ("[server]\nbasis = 'zernick'", r"\[server\]: .*basis"),
    "a map": ("[maps]\nwdd.epsilon = 'small'", r"\[maps\]: wdd.epsilon"),
    "a detector": ("[virtual_detectors]\nhaadf = 'ring'", r"\[virtual_detectors\]: detector haadf"),
}


def refusal(path: Path, text: str, **options: object) -> str:
    """The message about a configuration."""
    path.write_text(text)
    with pytest.raises(MetadataError) as caught:
        load_config(path, options, {})
    return caught.value.line()


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_with_file_and_field(case, tmp_path):
    text, wanted = MISTAKES[case]
    line = refusal(tmp_path / "microscope.toml", text)
    assert line.startswith(str(tmp_path / "microscope.toml"))
    assert re.search(wanted, line), line


def test_what_the_command_line_gives_is_not_blamed_on_the_file(tmp_path):
    path = tmp_path / "microscope.toml"
    assert refusal(path, "[scan]\nstep_A = 0.4", data="127.0.0.1:9").startswith("command line: data:")
    path.write_text("[refine]\nsweeps = 8")
    with pytest.raises(MetadataError, match=r"^command line: unknown refinement setting"):
        load_config(path, {}, {"refine.sweep": 8})
    with pytest.raises(MetadataError, match=r"^command line: scan: impossible scan shape"):
        load_config(path, {}, {"scan.shape": [0, 4]})


def test_keys_of_the_command_line_leave_the_tokens_of_the_file(tmp_path):
    """Without tokens the dashboard would be open to everybody on the machine."""
    path = tmp_path / "microscope.toml"
    path.write_text("[security]\noperators = ['anna']")
    security = load_config(path, {"security": {"keys": str(tmp_path)}}, {}).security
    assert (security.operators, security.token, security.keys) == (("anna",), True, str(tmp_path))


def test_a_home_folder_in_a_file(tmp_path, monkeypatch):
    """Regression: no shell expands ~ in a file, so recordings went into a folder of that name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "microscope.toml"
    path.write_text("[server]\nrecord = '~/scans'\nfiles = '~/files'\n[security]\nkeys = '~/keys'")
    config = load_config(path, {}, {})
    folders = (config.recording_folder, config.open_folder, config.key_folder)
    assert folders == (tmp_path / "scans", tmp_path / "files", tmp_path / "keys")
