"""Timed runs of other programs: how seconds and phases are evaluated, and the reason given if a program is missing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from zoo_scans import SAMPLING_A, small_draw, written_scan

from benchmarks.peers import timed
from benchmarks.peers.clock import Clock
from benchmarks.zoo.score import Truth


def test_a_threshold_is_reached_when_it_is_first_passed():
    found = timed.reached([1.0, 2.5, 4.0], [0.94, 0.97, 0.96])
    assert found == {"0.95": 2.5, "0.98": None}


def test_a_row_leaves_the_first_iteration_out_of_the_rate_and_counts_it_in_the_time():
    said = {"cpu_s": [9.0, 2.0, 2.0, 3.0], "peak_MB": 100.04}
    found = timed.row("x 1", said, [0.5, 0.96, 0.99, 0.985], count=100)
    assert found["patterns_per_cpu_s"] == 50
    assert found["cpu_s_to"] == {"0.95": 11.0, "0.98": 13.0}
    assert (found["last"], found["best"], found["peak_MB"]) == (0.985, 0.99, 100.0)


def test_a_phase_is_judged_where_its_runner_says_it_lies(tmp_path):
    path, scan = written_scan(tmp_path, small_draw())
    said = {"pixel_A": SAMPLING_A, "first_px": list(scan.nominal[0, 0] / SAMPLING_A)}
    truth = Truth.read(path)
    # sharper than the truth with which it is compared
    assert timed.judged(truth, scan.slices, said) > 0.98
    elsewhere = {**said, "first_px": [value + 3 / SAMPLING_A for value in said["first_px"]]}
    assert timed.judged(truth, scan.slices, elsewhere) < 0.9


def test_the_clock_keeps_what_a_row_is_made_of(tmp_path):
    clock = Clock(tmp_path)
    clock.start()
    for value in (1.0, 2.0):
        clock.lap(lambda value=value: np.full((1, 3, 4), value))
    clock.finish("1.2", 0.25, np.array([5.0, 6.5]))
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["version"] == "1.2" and said["first_px"] == [5.0, 6.5] and len(said["cpu_s"]) == 2
    assert min(said["cpu_s"]) >= 0 and said["peak_MB"] > 0
    assert [np.load(path)[0, 0, 0] for path in sorted(tmp_path.glob("phase_*.npy"))] == [1, 2]


@pytest.mark.parametrize("program", timed.PEERS)
def test_a_program_that_is_not_there_is_left_out_with_a_reason(tmp_path, program):
    path = tmp_path / "never_read.h5"
    assert f"--{program}-python" in timed.run(program, path, None, 1)["error"]
    found = timed.run(program, path, tmp_path / "nowhere" / "python", 1)
    assert found["skipped"] and "cannot be imported" in found["error"]


def test_a_program_that_fails_is_told_with_its_last_line(tmp_path, monkeypatch):
    """Bypasses the check, with an interpreter that lacks the program."""
    monkeypatch.setattr(timed, "installed", lambda python, package: True)
    path, _ = written_scan(tmp_path, small_draw())
    found = timed.run("py4dstem", path, Path(sys.executable), 2)
    assert "py4DSTEM" in found["error"] and "skipped" not in found


def test_every_program_has_its_runner():
    for program in timed.PEERS:
        assert Path(timed.__file__).with_name(f"run_timed_{program}.py").is_file()
