"""Refinement compared with other programs on a GPU: files carried there, evaluation of time and phases, the table."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from zoo_scans import SAMPLING_A, small_draw, written_scan

from benchmarks import refine_gpu_vs_peers as bench
from benchmarks.peers import timed
from benchmarks.peers.wall_clock import Asked, Enough, WallClock
from benchmarks.zoo.peers import prepared
from benchmarks.zoo.score import Truth

SAID = {"version": "1.2", "wall_s": [9.0, 2.0, 2.0, 3.0], "arrays_MB": 100.0}


def asked(folder, **more):
    told = {"device": "cpu", "iterations": 3, "seconds": 60.0, "batch": 32, "compiled": False}
    return Asked("never_read.npz", folder, **(told | more))


def carried(tmp_path):
    path, scan = written_scan(tmp_path, small_draw(slices=4))
    bench.carry(path, tmp_path / "thin.npz", 1e7)
    return path, scan, tmp_path / "thin.npz"


def given(tmp_path, **more):
    told = {"run": tmp_path, "device": "cpu", "iterations": 1, "seconds": 1.0, "limit": 60.0}
    return argparse.Namespace(**(told | more))


def test_what_is_carried_is_what_the_programs_are_handed_and_the_truth(tmp_path):
    path, _, out = carried(tmp_path)
    handed, truth = prepared(path), Truth.read(path)
    with np.load(out) as found:
        assert found["patterns"].dtype.kind == "u"
        np.testing.assert_array_equal(found["patterns"], handed["patterns"])
        np.testing.assert_array_equal(found["positions_A"], handed["positions_A"])
        assert str(found["calibration"]) == handed["calibration"] and found["dose"] == 1e7
        again = bench.truth_of(found)
    np.testing.assert_array_equal(again.points, truth.points)
    np.testing.assert_allclose(again.phase, truth.phase, rtol=1e-6)
    assert (again.sampling_A, again.blur_A, again.rotation_deg) == (truth.sampling_A, truth.blur_A, truth.rotation_deg)
    assert "1e+07 electrons" in bench.dose_and_shape(out)


def test_patterns_that_are_no_counts_are_not_rounded(tmp_path):
    path, _ = written_scan(tmp_path, small_draw(beam_offset_px=(0.3, 0.0)))
    with pytest.raises(SystemExit, match="no counts"):
        bench.carry(path, tmp_path / "out.npz", 1.0)


def test_a_phase_that_was_projected_is_judged_as_its_slices_are(tmp_path):
    path, scan, out = carried(tmp_path)
    said = {"pixel_A": SAMPLING_A, "first_px": list(scan.nominal[0, 0] / SAMPLING_A)}
    np.save(tmp_path / "phase.npy", scan.slices.sum(0))
    with np.load(out) as found:
        corr = bench.judged(bench.truth_of(found), said, tmp_path / "phase.npy")
    assert corr == pytest.approx(timed.judged(Truth.read(path), scan.slices, said), abs=1e-4)


def test_a_first_iteration_that_compiles_counts_as_the_others():
    found = bench.row(SAID, [1, 2, 3, 4], [0.5, 0.96, 0.99, 0.985], count=100, compiled=True)
    assert (found["patterns_per_s"], found["iteration_s"], found["first_s"]) == (50, 2.0, 9.0)
    assert found["wall_s_to"] == {"0.95": 4.0, "0.98": 6.0} and found["total_s"] == 9.0
    assert (found["last"], found["best"]) == (0.985, 0.99)


@pytest.mark.parametrize("first_s", [1.0, 9.0])
def test_a_first_iteration_that_compiles_nothing_counts_as_it_was(first_s):
    assert bench.row(SAID | {"wall_s": [first_s, 2.0]}, [1, 2], [0.5, 0.6], count=100)["total_s"] == first_s + 2.0


def test_epochs_of_several_passes_tell_the_rate_by_their_passes():
    said = SAID | {"wall_s": [1.0, 2.0, 4.0], "passes": [1.0, 1.0, 2.0]}
    assert bench.row(said, [1, 2, 3], [0.5, 0.6, 0.7], count=100)["patterns_per_s"] == 50


def test_early_iterations_are_all_judged_and_so_is_the_last():
    assert bench.judged_iterations(4) == [1, 2, 3, 4]
    looks = bench.judged_iterations(1000)
    assert looks[:12] == list(range(1, 13)) and looks[-1] == 1000 and len(looks) <= 1.3 * bench.MOST_JUDGED


def test_the_clock_ends_a_run_and_leaves_what_it_knew(tmp_path):
    waits = []
    clock = WallClock(asked(tmp_path), lambda: waits.append(1), lambda: 12.0, "1.2")
    clock.place(0.25, np.array([5.0, 6.5]))
    clock.start()
    clock.lap(lambda: np.full((2, 3, 4), 1.0))
    assert (tmp_path / "run.json").exists()
    clock.lap(lambda: np.full((2, 3, 4), 2.0))
    with pytest.raises(Enough):
        clock.lap(lambda: np.full((2, 3, 4), 3.0))
    phases = [np.load(path) for path in sorted(tmp_path.glob("phase_*.npy"))]
    assert [phase[0, 0] for phase in phases] == [2, 4, 6] and phases[0].shape == (3, 4)
    assert len(clock.report["wall_s"]) == 3 and len(waits) == 6 and clock.report["arrays_MB"] == 12.0


def test_the_clock_ends_a_run_whose_seconds_are_spent(tmp_path):
    clock = WallClock(asked(tmp_path, iterations=99, seconds=0.0), lambda: None, lambda: None, "1.2")
    clock.start()
    with pytest.raises(Enough):
        clock.lap(lambda: np.zeros((1, 2, 2)))


def runner(monkeypatch, tmp_path, text):
    """A program that runs ``text``."""
    module = tmp_path / "stands_in.py"
    module.write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(bench.Program, "runner", "stands_in")
    monkeypatch.setattr(bench, "installed", lambda python, package: True)


ONE = """
import json, pathlib, sys
import numpy as np
folder = pathlib.Path(sys.argv[2])
np.save(folder / "phase_0001.npy", np.random.default_rng(1).random((60, 60)))
said = {"version": "1", "wall_s": [0.5], "pixel_A": 0.5, "first_px": [20, 20], "arrays_MB": None}
(folder / "run.json").write_text(json.dumps(said))
"""


def test_a_program_that_hangs_keeps_the_iterations_it_had(tmp_path, monkeypatch):
    _, _, out = carried(tmp_path)
    runner(monkeypatch, tmp_path, ONE + "import time; time.sleep(600)")
    with ThreadPoolExecutor(1) as judges:
        found = bench.figures_of("ptylive", out, given(tmp_path, limit=2.0), judges)
    assert found["iterations"] == 1 and "broken off after 2 s" in found["error"]
    line = bench.table([{"case": "thin", "name": "ptylive", **found}]).splitlines()[-1]
    assert line.startswith("| thin | ptylive 1 | 500 (500) |") and line.endswith("broken off after 2 s |")


def test_a_program_that_fails_is_told_with_its_last_line(tmp_path, monkeypatch):
    _, _, out = carried(tmp_path)
    runner(monkeypatch, tmp_path, "raise SystemExit('no such | card')")
    found = bench.figures_of("ptyrad-32", out, given(tmp_path, ptyrad_python=Path(sys.executable)), None)
    assert found == {"error": "no such | card"}
    line = bench.table([{"case": "thin", "name": "ptyrad-32", **found}]).splitlines()[-1]
    assert line.count("|") == len("case program ms rate to after last best iterations memory word".split()) + 1
    assert line.endswith("no such / card |")


def test_a_program_that_is_not_there_is_left_out_with_a_reason(tmp_path):
    _, _, out = carried(tmp_path)
    found = bench.figures_of("py4dstem-32", out, given(tmp_path, py4dstem_python=tmp_path / "python"), None)
    assert found["skipped"] and "cannot be imported" in found["error"]


def test_every_program_has_its_runner_and_its_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["it", "--run", "somewhere"])
    for program in bench.PROGRAMS.values():
        assert Path(bench.ROOT, *program.runner.split(".")).with_suffix(".py").is_file()
        assert program.package == "ptylive" or hasattr(bench.arguments(), f"{program.package.lower()}_python")
