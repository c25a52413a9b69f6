"""``ptylive dose`` on the command line, on two counts of one simulated specimen, and on another specimen."""

import json

import numpy as np
import pytest
from counted_scans import counted
from typer.testing import CliRunner

from ptylive.application.analysis.dose import holds_mean
from ptylive.engine.results import write_maps
from ptylive.engine.stored_maps import StoredMaps
from ptylive.schema import Calibration, InputFileError, LiveMap, MetadataError
from ptylive.server.cli.main import build

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three counts of one specimen, and one of another."""
    folder = tmp_path_factory.mktemp("dose")
    made = [folder / f"{name}.h5" for name in ("first", "second", "third", "other")]
    for seed, some in ((1, made[:3]), (2, made[3:])):
        optics = {"scan_shape": (32, 32), "dose_e_per_A2": 1e4, "orientation_deg": 25.0 * seed}
        counted(folder / f"mean{seed}.h5", some, seed, **optics)
    return made


def ran(*words, code=0):
    done = RUNNER.invoke(build(("dose",)), ["dose", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_table_and_a_sentence(files):
    lines = ran(files[0], files[3]).splitlines()
    assert lines[0].split() == "scans dose/Å² information limit, Å predicted from the first, Å".split()
    assert lines[1].startswith("1 ")
    assert "another place" in lines[-1]


def test_each_step_as_json_and_the_mean_as_a_file(files, tmp_path):
    told = json.loads(ran(*files[:3], "-o", tmp_path / "sum.h5", "--json").splitlines()[-1])
    assert [len(step["series"]) for step in told["steps"]] == [1, 2, 3]
    last = told["steps"][-1]
    assert last["verdict"] == "steady", last["line"]
    assert np.abs(last["shift_A"]).max() < 0.25
    doses = [point["dose"] for point in last["measured"]]
    np.testing.assert_allclose(doses, doses[0] * np.arange(1, 4), rtol=0.01)
    maps = StoredMaps.read(tmp_path / "sum.h5").maps
    assert maps["obf"].settings["scans"] == 3
    assert holds_mean(tmp_path / "sum.h5"), "the same call may replace it"


def test_the_output_is_checked_before_any_work(files, tmp_path, monkeypatch):
    monkeypatch.setattr("ptylive.application.analysis.dose.reconstruct_source", None)
    with pytest.raises(InputFileError, match="is a recording and cannot hold results"):
        ran(files[0], "-o", files[3])
    results = tmp_path / "results.h5"
    live_map = LiveMap("obf", np.zeros((2, 2), np.float32), "rad", None, 4, "OBF")
    write_maps(results, [live_map], np.ones((2, 2), bool), Calibration(), {})
    with pytest.raises(InputFileError, match=r"results\.h5 exists and was not written by ptylive dose"):
        ran(files[0], "-o", results)


def test_a_file_twice_counts_once(files):
    assert "already included" in ran(files[0], files[0])


def test_too_many_files_and_one_that_is_none(files, tmp_path):
    with pytest.raises(MetadataError, match="65 files"):
        ran(*[files[0]] * 65)
    with pytest.raises(InputFileError, match="absent"):
        ran(tmp_path / "absent.h5")
