"""``ptylive refine --cluster``: the same answer and the same exit codes, on a fake cluster."""

import json
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from running import ptylive_here
from scripted_refinement import ENDED, Scripted, progress

from ptylive.schema import PtyliveError
from ptylive.server.cli import refine_elsewhere


@pytest.fixture
def scan(tmp_path, monkeypatch):
    @contextmanager
    def places(asked, backend, threads, tell):
        if asked.cluster != "tcp://there:1":
            raise PtyliveError(f"no Dask scheduler answers at {asked.cluster}", "start one")
        assert (asked.number, asked.when_missing) == (None, "refuse")
        yield Scripted, lambda: 1

    monkeypatch.setattr(refine_elsewhere, "places", places)
    monkeypatch.setattr(Scripted, "started", [])
    place = {"kind": "place", "message": "on tcp://w:1, one of 2 workers", "workers": 2}
    results = str(tmp_path / "out.h5")
    monkeypatch.setattr(Scripted, "script", [place, progress(4), {**ENDED, "results": results}])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.ones((4, 4, 8, 8), np.uint16)
        values = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5}
        file.create_group("metadata").attrs.update(values)
    return tmp_path / "a.h5"


def refine(scan, *options, cluster="tcp://there:1"):
    return ptylive_here("refine", scan, "-o", scan.with_name("out.h5"), "--cluster", cluster, *options)


def test_the_answer_is_that_of_a_refinement_here_and_says_where(scan):
    done = refine(scan, "--json", "--set", "epoch_max=9", "--threads", "3")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["state"], said["loss"], said["epochs"], said["run"]) == ("done", 2.5, 4, "run1")
    assert said["place"] == "on tcp://w:1, one of 2 workers"
    assert {**said, **ENDED["outcome"]} == said
    given = Scripted.started[0].job
    assert (given.recording, given.run, given.threads, given.methods) == (scan, "run1", 3, ("obf",))
    assert given.preset.value("epoch_max") == 9
    assert Scripted.started[0].is_over


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ({**ENDED, "state": "stopped"}, 130, "4 epochs are in"),
        ({**ENDED, "state": "failed", "message": "the loss is not finite"}, 1, "the loss is not finite"),
        ({**ENDED, "problem": "disk full; it is complete in x"}, 1, "disk full"),
        ({"kind": "failed", "message": "a.h5 is damaged: restore it"}, 1, "a.h5 is damaged: restore it"),
        ({"kind": "note", "message": ""}, 1, "it was killed"),
    ],
)
def test_other_ends_have_other_exit_codes(scan, monkeypatch, last, code, said):
    monkeypatch.setattr(Scripted, "script", [progress(4), last])
    done = refine(scan)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_a_worker_that_is_lost_is_said_and_what_the_run_came_to(scan, monkeypatch):
    lost = {
        "kind": "note",
        "message": "tcp://w:1 was lost (OSError): continuing on another worker",
        "lost": "tcp://w:1",
    }
    results = str(scan.with_name("out.h5"))
    monkeypatch.setattr(Scripted, "script", [progress(1), lost, progress(4), {**ENDED, "results": results}])
    said = refine(scan).stderr
    assert "ptylive: tcp://w:1 was lost (OSError): continuing on another worker\n" in said
    assert "ptylive: lsq: as asked\n" in said


def test_a_cluster_that_is_not_there_is_one_line_and_keeps_no_name(scan):
    done = refine(scan, cluster="tcp://gone:1")
    assert (done.returncode, done.stderr) == (1, "ptylive: no Dask scheduler answers at tcp://gone:1: start one\n")
    assert list(scan.parent.glob(".*reserved")) == []


def test_checks_and_history_are_of_this_machine(scan):
    assert "leave out --checks" in refine(scan, "--checks").stderr
    assert "leave out --history" in refine(scan, "--history", "2").stderr
