"""Trials in a separate process: run on request, given up, failed, and the end of the process."""

from dataclasses import replace

import pytest

from ptylive.application.simulation import simulate_file
from ptylive.application.tuning.ranges import parse_over
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import RefinementError
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.refinement import trial_worker
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.tune.beginning import Wanted, begin

SWEEPS = 3


class Asked:
    """An inbox that holds all requests from the start."""

    def __init__(self, *trials):
        self._trials, self.pruned = list(trials), set()
        self.stop = type("Never", (), {"is_set": staticmethod(lambda: False)})()

    def next_trial(self):
        return self._trials.pop(0) if self._trials else None


class Nobody:
    def admit_scan(self, path):
        pass


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    simulate_file(folder / "s.h5", SimulationSettings.of({"scan_shape": (12, 12), "seed": 1}), overwrite=False)
    preset = Preset.from_mapping({"probe_modes": 1, "num_slices": 1, "window_px": 32})
    asked = parse_over(["defocus"], Judge.HELD_OUT)
    wanted = Wanted(folder / "s.h5", folder / "out", asked, preset, {}, {}, patterns=100, sweeps=SWEEPS, backend="cpu")
    return begin(wanted, print, lambda: False).job


def tried(job, *trials, inbox=None):
    said = []
    end = trial_worker.tried(job, inbox or Asked(*trials), said.append, Nobody())
    return said, end


def of(number, split=0, **values):
    return {"trial": number, "values": values, "split": split}


def test_every_trial_that_is_asked_for_is_made(job):
    said, end = tried(job, of(0, defocus_A=100.0), of(1, defocus_A=-50.0), of(2, split=1, defocus_A=100.0))
    assert said[0] == {"kind": "ready"} and end["kind"] == "ended"
    ended = [message for message in said if message["kind"] == "tried"]
    assert [(one["trial"], one["state"], one["reason"]) for one in ended] == [
        (0, "done", ""),
        (1, "done", ""),
        (2, "done", ""),
    ]
    swept = {(m["trial"], m["sweep"]): m["groups"] for m in said if m["kind"] == "sweep"}
    assert list(swept) == [(trial, sweep) for trial in (0, 1, 2) for sweep in (1, 2, 3)]
    assert sum(swept[0, SWEEPS]) < sum(swept[1, SWEEPS])  # the scan has 100 Å
    assert swept[0, SWEEPS] != swept[2, SWEEPS]  # different held-out patterns


def test_a_trial_that_is_given_up_ends_and_the_next_begins(job):
    inbox = Asked(of(0, defocus_A=100.0), of(1, defocus_A=100.0))
    inbox.pruned.add(0)
    said, _ = tried(job, inbox=inbox)
    states = {m["trial"]: m["state"] for m in said if m["kind"] == "tried"}
    assert states == {0: "pruned", 1: "done"}
    assert sum(m["kind"] == "sweep" and m["trial"] == 0 for m in said) == 1


def test_a_trial_that_cannot_be_says_why_and_the_next_begins(job):
    said, _ = tried(job, of(0, convergence_semiangle_mrad=-5.0), of(1, defocus_A=100.0))
    failed, done = (m for m in said if m["kind"] == "tried")
    assert failed["state"] == "failed" and failed["reason"] and "\n" not in failed["reason"]
    assert done["state"] == "done"


def test_a_job_of_trials_goes_over_the_pipe_as_it_is(job):
    assert RefineJob.from_plain(job.to_plain()).trials == job.trials
    assert RefineJob.from_plain(replace(job, trials=None).to_plain()).trials is None


@pytest.fixture(scope="module")
def deciding(tmp_path_factory):
    """A thin specimen, with enough patterns for trials of its depth."""
    folder = tmp_path_factory.mktemp("thin")
    small = {"scan_shape": 24, "scan_step_A": 0.8, "detector_shape": 32, "detector_pixel_mrad": 3.0, "seed": 1}
    simulate_file(folder / "s.h5", SimulationSettings.of({**small, "electrons_per_pattern": 1e4}))
    preset = Preset.from_mapping({"probe_modes": 1, "window_px": 32, "regime": "thin"})
    wanted = Wanted(folder / "s.h5", folder / "out", (), preset, {}, {}, patterns=576, sweeps=1, backend="cpu")
    return replace(begin(wanted, print, lambda: False).job, preset=preset, trials=None, decides=True)


@pytest.mark.slow
def test_what_is_decided_before_a_refinement_is_told_with_its_time(deciding):
    said = []
    end = trial_worker.decided(deciding, Asked(), said.append, Nobody())
    assert end["kind"] == "ended"
    *trials, found = said
    assert {one["kind"] for one in trials} == {"trial"} and len(trials) > 1
    assert (found["kind"], found["num_slices"], found["total_thickness_A"]) == ("decided", 1, None)
    assert any(words.startswith("one slice") for words in found["said"])
    assert found["seconds"] > 0


def test_a_decision_is_given_up_between_two_trials(deciding):
    inbox, said = Asked(), []
    inbox.stop.is_set = lambda: len(said) > 0
    with pytest.raises(RefinementError, match="stopped on request"):
        trial_worker.decided(deciding, inbox, said.append, Nobody())
    assert len(said) == 1


def test_too_few_patterns_decide_nothing(job):
    said = []
    few = replace(job, preset=Preset.from_mapping({"probe_modes": 1, "window_px": 32}), trials=None, decides=True)
    trial_worker.decided(few, Asked(), said.append, Nobody())
    assert (said[-1]["num_slices"], said[-1]["range_A"]) == (1, None)
    assert said[-1]["said"] == ["one slice: no trials were made, because the scan has few patterns"]
