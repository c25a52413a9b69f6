"""Refinement compared with other programs: cases, noise, the input of ours, and the table."""

import argparse
import json

import h5py
import numpy as np
import pytest
from zoo_scans import small_draw, written_scan

from benchmarks import refine_vs_peers as bench
from benchmarks.zoo.draws import Draw
from benchmarks.zoo.peers import prepared

ROWS = [
    {
        "case": "thin",
        "name": "ptylive",
        "patterns_per_cpu_s": 64600,
        "cpu_s_to": {"0.95": 0.026, "0.98": None},
        "last": 0.9971,
        "peak_MB": 265.2,
    },
    {
        "case": "thin",
        "name": "py4dstem 0.14.18",
        "patterns_per_cpu_s": 2910,
        "cpu_s_to": {"0.95": 0.59, "0.98": 1.17},
        "last": 0.9924,
        "best": 0.9931,
        "peak_MB": 607.0,
    },
    {"case": "thin", "name": "ptyrad", "skipped": True, "error": "not run"},
    {"case": "thick", "name": "ptyrad", "skipped": True, "error": "not run"},
    {"case": "thick", "name": "phaser", "error": "no memory"},
]


def test_the_table_says_what_was_reached_and_what_was_left_out():
    lines = bench.table(ROWS).splitlines()
    assert lines[2] == "| thin | ptylive | 64 600 | 0.026 / – | 0.9971 |  | 265 |"
    assert lines[3] == "| thin | py4dstem 0.14.18 | 2 910 | 0.59 / 1.17 | 0.9924 | 0.9931 | 607 |"
    assert lines[4:] == ["", "- ptyrad: not run", "- thick, phaser: no memory"]


@pytest.mark.parametrize(("name", "pixel_A", "slices"), [("thin", 0.27, 1), ("thick", 0.2, 4)])
def test_nothing_goes_wrong_in_the_cases(name, pixel_A, slices):
    drawn = bench.case(name)
    assert drawn.window_A / drawn.pixels == pytest.approx(pixel_A, rel=5e-3)  # edge of the detector: three digits
    assert drawn.slices == slices and drawn.configurations == 1
    assert (
        Draw(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(json.dumps(drawn.as_dict())).items()})
        == drawn
    )
    assert drawn.kind  # the zoo can build it


def test_a_scan_with_less_electrons_is_poisson_s_again(tmp_path):
    path, scan = written_scan(tmp_path, small_draw())
    rng = np.random.default_rng(3)
    scan.counts[...] = rng.poisson(400, scan.counts.shape)
    with h5py.File(path, "r+") as file:
        file["data"][...] = scan.counts
    bench.thinned(path, tmp_path / "noisy.h5", 0.05)
    with h5py.File(tmp_path / "noisy.h5") as file:
        counts = file["data"][()].astype(float)
        assert set(file) == {"data", "metadata", "truth"} and counts.shape == scan.counts.shape
    # mean 20 with the same variance; 30720 numbers, so the standard errors are 0.026 and 0.17: four of each
    assert counts.mean() == pytest.approx(20, abs=0.11)
    assert counts.var() == pytest.approx(20, abs=0.7)


def test_ours_is_handed_what_the_others_are(tmp_path):
    path, scan = written_scan(tmp_path, small_draw(defocus_A=120.0, slices=4))
    given = prepared(path)
    dataset, known = bench.dataset_of(given)
    np.testing.assert_array_equal(dataset.patterns, given["patterns"].reshape(120, 16, 16))
    np.testing.assert_array_equal(dataset.positions_A, given["positions_A"])
    assert dataset.calibration.aberrations["C10"] == -120 and dataset.scan_shape == (10, 12)
    assert known == {"num_slices": 4, "total_thickness_A": pytest.approx(scan.thickness_A)}
    assert bench.dataset_of(prepared(written_scan(tmp_path, small_draw())[0]))[1]["total_thickness_A"] is None


def test_presets_of_what_is_refined_besides_are_taken():
    from ptylive.schema.preset import Preset

    for more in bench.REFINING.values():
        Preset.from_mapping({"num_slices": 1, "probe_modes": 1, **more})


def test_rates_are_compared_as_far_as_there_are_two(tmp_path, monkeypatch, capsys):
    given = argparse.Namespace(refining=["modes"], iterations=None, ptyrad_python=None)
    monkeypatch.setattr(bench, "run_ours", lambda scan, more: {"patterns_per_cpu_s": 900})
    monkeypatch.setattr(bench.timed, "run", lambda *_: {"patterns_per_cpu_s": 300})
    bench.compare_rates("thin", tmp_path, given)
    assert "900 patterns per CPU s; PtyRAD 300 patterns per CPU s, ratio 3.0" in capsys.readouterr().out
    monkeypatch.setattr(bench.timed, "run", lambda *_: {"error": "not run"})
    bench.compare_rates("thin", tmp_path, given)
    assert capsys.readouterr().out.strip().endswith("PtyRAD not run")
