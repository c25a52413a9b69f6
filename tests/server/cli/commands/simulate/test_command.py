"""``ptylive simulate`` on the command line."""

import json

import pytest
from typer.testing import CliRunner

from ptylive.schema import InputFileError, MetadataError
from ptylive.server.cli.main import build
from ptylive.streamer.source import open_source

RUNNER = CliRunner()
SMALL = ["--set", "scan_shape=4,5", "--set", "detector_shape=32", "--set", "reach=1"]


def ran(*words):
    return RUNNER.invoke(build(("simulate",)), ["simulate", *map(str, words)], catch_exceptions=False)


def test_settings_of_file_and_line_and_a_seed(tmp_path):
    config = tmp_path / "sim.toml"
    config.write_text('[probe]\nenergy_eV = "200 keV"\ndefocus_A = 30\n')
    out = tmp_path / "out.h5"
    done = ran(out, "--config", config, *SMALL, "--set", "defocus_A=5 nm", "--seed", 11, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["frames"], told["seed"], told["slices"]) == (20, 11, 2)
    with open_source(out) as source:
        assert source.header.optics.energy_eV == 200e3
        assert source.header.optics.aberrations["C10"] == pytest.approx(-50.0)


def test_existing_files_and_contradictions_are_refused(tmp_path):
    out = tmp_path / "out.h5"
    out.write_text("mine")
    with pytest.raises(InputFileError, match="exists"):
        ran(out, *SMALL)
    with pytest.raises(MetadataError, match="seed is given twice"):
        ran(tmp_path / "b.h5", *SMALL, "--seed", 1, "--set", "seed=2")
    with pytest.raises(MetadataError, match="unknown setting 'energie_eV'"):
        ran(tmp_path / "b.h5", "--set", "energie_eV=80e3")
    with pytest.raises(InputFileError, match="no such file"):
        ran(tmp_path / "b.h5", "--config", tmp_path / "nothing.toml")
    config = tmp_path / "sim.toml"
    config.write_text("seed = 2")
    with pytest.raises(InputFileError, match="overwrite the input"):
        ran(config, "--config", config, "--overwrite")
    assert ran(out, *SMALL, "--overwrite").exit_code == 0
    with open_source(out) as source:
        assert source.frame_count == 20


def test_missing_frames_are_said(tmp_path):
    done = ran(tmp_path / "a.h5", *SMALL, "--set", "missing_share=0.25")
    assert "frames: 15" in done.stdout
    assert "5 frames are missing" in done.stderr
