"""``ptylive plan`` on the command line."""

import json

import pytest
from typer.testing import CliRunner

from ptylive.schema import InputFileError, MetadataError
from ptylive.server.cli.main import build
from ptylive.simulators.data import bundled

RUNNER = CliRunner()
SCAN = ("--scan", "256,256", "--detector", "256,256", "--pixel", "0.8 mrad", "--step", "0.4 A")
BEAM = ("--energy", "80 keV", "--semi-angle", "21.4 mrad", "--defocus", "15 nm", "--current", "10 pA")


def ran(*words):
    done = RUNNER.invoke(build(("plan",)), ["plan", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def figures(*words):
    return json.loads(ran(*words, "--json").splitlines()[-1])["figures"]


def test_the_table_of_an_experiment():
    table = ran(*BEAM, *SCAN, "--dwell", "100 us", "--thickness", "20 nm")
    lines = {line.split("  ")[0]: line for line in table.splitlines()}
    assert "8.80 Å at a defocus of 15.0 nm" in lines["probe diameter"]
    assert "39\u2009000 e/Å²" in lines["dose"]
    assert lines["data rate"].rstrip().endswith("dwell longer")
    assert "7 of 28.6 Å" in lines["slices"]


def test_short_names_stand_for_those_of_the_metadata():
    named = ("--energy_eV", "80 keV", "--convergence_semiangle_mrad", 21.4, "--defocus_A", 150, "--beam_current_pA", 10)
    same = (
        "--scan_shape",
        "256,256",
        "--detector_shape",
        "256,256",
        "--detector_pixel_mrad",
        0.8,
        "--scan_step_A",
        0.4,
    )
    end = ("--dwell_time_us", 100, "--thickness_A", 200)
    short = figures(*BEAM, *SCAN, "--dwell", "100 us", "--thickness", "20 nm")
    long = figures(*named, *same, *end)
    set_too = figures(*BEAM, *SCAN[2:], "--set", "scan.shape=256,256", "--dwell", 100, "--thickness", 200)
    for name, figure in short.items():
        assert figure["value"] == long[name]["value"] == set_too[name]["value"], name
    assert figures("--dose", "1e4", "--step", 1)["dose_e_per_A2"]["value"] == 1e4


def test_a_pixel_is_an_angle_or_a_frequency():
    assert figures("--energy", "80 keV", "--pixel", "0.02 1/Å")["window_A"]["value"] == pytest.approx(50.0)
    assert figures("--energy", "80 keV", "--pixel", "2 1/nm")["window_A"]["value"] == pytest.approx(5.0)


def test_options_win_over_a_file():
    found = figures(bundled("au_ac_300kV_parallax"), "--step", "5 Å", "--set", "C12a=100")
    assert found["field_of_view_A"]["value"] == pytest.approx(240.0)
    assert found["slices"]["verdict"] == "unknown"


def test_suggestions_stand_below_the_table():
    words = (*BEAM, *SCAN, "--dwell", "100 us")
    assert "overlap:" not in ran(*words)
    *table, empty, first, second = ran(*words, "--suggest").splitlines()
    assert first == "80 % overlap: step 1.76 Å, 59 x 59 points, 1.94 ms per pattern at the same dose"
    assert (empty, second.split(":")[0]) == ("", "70 % overlap")
    assert table == ran(*words).splitlines()
    told = json.loads(ran(*words, "--json"))["suggestions"]
    assert [one["overlap"] for one in told] == [0.8, 0.7]
    assert told[0]["scan_shape"] == [59, 59]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing is known"),
        (("--energy", 80), "did you mean 80 keV"),
        (("--step", "0,4"), "is not a single number"),
        (("--pixel", "3 s"), "'s' is not a unit for an angle"),
        (("--step", 1, "--set", "scan_step_A=2"), "scan_step_A is given twice"),
        (("--step", 1, "--set", "scan.step_A=2"), "scan_step_A is given twice"),
        (("--defocus", 1, "--set", "C10=2"), "defocus_A and C10 have the same meaning"),
        (("--set", "nonsense=1"), "unknown setting 'nonsense'"),
        (("--set", "energy_eV"), "is not KEY=VALUE"),
        (("--energy", "80 keV", "--suggest"), "nothing can be suggested without energy_eV"),
    ],
)
def test_impossible_values_are_refused(words, says):
    with pytest.raises(MetadataError, match=says):
        ran(*words)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputFileError, match="no such file"):
        ran(tmp_path / "nothing.h5")
