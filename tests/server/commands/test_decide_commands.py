"""Thickness found before a refinement: what the trials are asked to do, and what is reported of them."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.schema import CommandError, MetadataError, Scan, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.server.commands.decide_commands import DecideCommands
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.session.scan_session import ScanSession

FOUND = {"num_slices": 8, "total_thickness_A": 104.0, "range_A": [86.1, 121.0], "said": ["8 slices"], "seconds": 65.0}


class Work:
    """Trials that report what they are told to."""

    def __init__(self):
        self.runs = self.stopping = False

    def begin(self, request, hear, on_ended):
        if self.runs:
            raise CommandError("the search for the thickness is running", "stop it first")
        self.request, self.hear, self.on_ended, self.runs, self.stopping = request, hear, on_ended, True, False

    def stop(self):
        self.stopping = True

    def end(self, why=""):
        self.runs = False
        self.on_ended(why)


@pytest.fixture
def scan():
    header = ScanHeader(uid="a", series="grain", frames=16, scan=Scan(shape=(4, 4)))
    header = overlay(header, {"energy_eV": 80e3, "convergence_semiangle_mrad": 25, "scan_step_A": 0.4})
    one = ScanSession(header, None, header)
    one.coverage = np.ones((4, 4), dtype=bool)
    one.finished.set()
    return one


@pytest.fixture
def commands(scan, tmp_path):
    def draft(scan, preset):
        return RefineJob(tmp_path / "a.h5", tmp_path / "r.h5", "", preset, scan.calibration, decides=True)

    made = DecideCommands(lambda: made.scan, {"probe_modes": 2}, draft, lambda: made.busy)
    made.scan, made.busy, made._work = scan, False, Work()
    return made


def test_what_is_to_be_found_is_left_open_and_all_else_is_as_given(commands):
    commands.command_decide({"num_slices": 4, "total_thickness_A": 30.0, "epoch_max": 7})
    job = RefineJob.from_plain(commands._work.request)
    assert job.decides
    assert (job.preset.object.num_slices, job.preset.object.total_thickness_A) == ("auto", None)
    assert (job.preset.solver.epoch_max, job.preset.probe.probe_modes) == (7, 2)


def test_how_far_it_is_and_what_was_found_is_told(commands):
    assert commands.command_decide_status()["state"] == "none"
    commands.command_decide()
    commands._work.hear({"kind": "trial", "message": "52 Å"})
    told = commands.command_decide_status()
    assert (told["state"], told["message"]) == ("running", "52 Å")
    commands._work.hear({"kind": "decided", **FOUND})
    commands._work.end()
    assert commands.command_decide_status() == {"state": "done", "message": "", "other": "", **FOUND}


def test_of_another_scan_nothing_is_told_but_that_it_is_looked_at(commands, scan):
    commands.command_decide()
    commands.scan = ScanSession(replace(scan.header, uid="b"), None, scan.header)
    assert commands.command_decide_status() == {"state": "none", "other": "grain"}
    commands._work.end("gone")
    assert commands.command_decide_status() == {"state": "none", "other": ""}


def test_it_is_given_up_or_fails_with_a_reason(commands):
    commands.command_decide()
    commands.command_decide_stop()
    assert commands.command_decide_status()["state"] == "stopping"
    commands._work.end("stopped on request")
    assert commands.command_decide_status()["state"] == "stopped"
    commands.command_decide()
    commands._work.end("400 patterns are too few")
    told = commands.command_decide_status()
    assert (told["state"], told["message"]) == ("failed", "400 patterns are too few")
    assert "num_slices" not in told, "nothing of what was found before"


def test_what_cannot_be_decided_is_refused_by_a_line(commands, scan):
    commands.busy = True
    with pytest.raises(CommandError, match="finds the thickness itself"):
        commands.command_decide()
    commands.busy = False
    scan.finished.clear()
    with pytest.raises(CommandError, match="has not ended yet"):
        commands.command_decide()
    scan.finished.set()
    scan.header = overlay(scan.header, {"energy_eV": None})
    with pytest.raises(MetadataError, match="needs energy_eV"):
        commands.command_decide()
    commands.scan = None
    with pytest.raises(CommandError, match="no scan"):
        commands.command_decide()
