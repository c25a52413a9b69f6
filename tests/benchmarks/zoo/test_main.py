"""The zoo's command: which draws it makes, which results it keeps, and what it refuses."""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pytest
import zoo_scans  # noqa: F401  (makes the benchmarks importable)

from benchmarks.zoo import __main__ as zoo
from benchmarks.zoo.draws import draw


def given(cache, **changes):
    values = {"set": [], "halves": False, "iterations": None, "cache": cache, "ptyrad_python": None, **changes}
    return argparse.Namespace(**values)


def test_numbers_and_ranges():
    assert zoo.numbers("0-2,7") == [0, 1, 2, 7]


def test_numbers_that_are_none():
    with pytest.raises(SystemExit, match="--draws 'all': give numbers"):
        zoo.numbers("all")


def test_a_result_is_kept_while_code_and_settings_are_the_same(tmp_path, monkeypatch):
    runs, code = [], ["one"]

    def run(way, source, folder, settings, *, halves):
        runs.append((way, tuple(settings), halves))
        return {"corr": 0.9}

    monkeypatch.setattr(zoo.ours, "run", run)
    monkeypatch.setattr(zoo.ours, "code_key", lambda: code[0])
    one, scan = draw("development", 0), Path("dev00.h5")
    for changes in ({}, {}, {"set": ["probe_modes=4"]}, {"halves": True}):
        zoo.result("ours", one, scan, given(tmp_path, **changes))
    assert runs == [("ours", (), False), ("ours", ("probe_modes=4",), False), ("ours", (), True)]
    code[0] = "two"
    assert zoo.result("ours", one, scan, given(tmp_path)) == {"corr": 0.9}
    assert len(runs) == 4


def test_a_result_of_code_that_changed_meanwhile_is_not_kept(tmp_path, monkeypatch):
    codes = iter(("one", "two"))
    monkeypatch.setattr(zoo.ours, "run", lambda *_, **__: {"corr": 0.9})
    monkeypatch.setattr(zoo.ours, "code_key", lambda: next(codes))
    with pytest.raises(SystemExit, match="run it again"):
        zoo.result("ours", draw("development", 0), Path("dev00.h5"), given(tmp_path))
    assert not list(tmp_path.rglob("*.json"))


def test_a_program_that_was_left_out_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo.peers, "run", lambda *_: {"skipped": True, "error": "not run"})
    assert zoo.result("ptyrad", draw("development", 0), Path("dev00.h5"), given(tmp_path))["skipped"]
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("name", ["closed", "further"])
def test_the_other_sets_are_asked_for_by_name(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["zoo", "--list", "--draws", "0"])
    zoo.main()
    assert "development draws" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["zoo", "--list", f"--{name}", "--draws", "0", "--seed", "5"])
    zoo.main()
    said = capsys.readouterr().out
    assert f"seed 5, {name} draws" in said and draw(name, 0, 5).name in said


def test_a_simulation_that_fails_says_what_it_needs(tmp_path):
    failing = shutil.which("false")
    assert failing is not None
    with pytest.raises(SystemExit, match="--abtem-python PATH"):
        zoo.simulated(draw("development", 0), tmp_path, Path(failing))
    assert json.loads(next(tmp_path.rglob("*.json")).read_text())["index"] == 0


def test_without_programs_scans_are_only_simulated(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(zoo, "simulated", lambda drawn, cache, python: made.append(drawn.name))
    monkeypatch.setattr(zoo.ours, "warm", lambda windows: None)
    monkeypatch.setattr(sys, "argv", ["zoo", "--draws", "0,2", "--programs", "--cache", str(tmp_path)])
    zoo.main()
    assert made == [draw("development", index).name for index in (0, 2)]
    assert capsys.readouterr().out == f"seed {zoo.SEED}, development draws 0,2\n"
