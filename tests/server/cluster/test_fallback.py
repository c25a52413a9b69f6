"""A cluster that is missing, or disappears: what becomes of its jobs with each of the three settings."""

from dataclasses import replace

import pytest
from scripted_refinement import ENDED, Scripted, progress

from ptylive.schema import Calibration
from ptylive.schema.preset import Preset
from ptylive.server.cluster import fallback as fallback_module
from ptylive.server.cluster.fallback import Fallback
from ptylive.server.refinement.refine_job import RefineJob

WHY = "the scheduler has gone"
GONE = {"kind": "failed", "message": f"{WHY}: start it", "place_gone": True, "missing": WHY}


class OnCluster(Scripted):
    """A job on the cluster; the rest of it resumes from a checkpoint."""

    @property
    def rest(self):
        return replace(self.job, resume=True)


class MadeUp:
    """A cluster whose jobs follow one script after the other."""

    def __init__(self, *scripts):
        self.scripts, self.jobs, self.is_missing, self.closed = list(scripts), [], False, False

    def launch(self, job):
        running = OnCluster(job)
        running.script = self.scripts.pop(0)
        self.jobs.append(running)
        return running

    def workers(self):
        return None if self.is_missing else 3

    def close(self):
        self.closed = True


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(fallback_module, "AGAIN_S", 0.01)
    monkeypatch.setattr(fallback_module, "POLL_S", 0.01)
    monkeypatch.setattr(Scripted, "script", [progress(2), ENDED])
    monkeypatch.setattr(Scripted, "started", [])
    return RefineJob(tmp_path / "a.h5", tmp_path / "a_results.h5", "run1", Preset(), Calibration())


def heard(cluster, when, job, most=1):
    running = Fallback(cluster, when, Scripted, most).launch(job)
    return running, list(running.messages())


def test_a_cluster_that_is_there_is_not_noticed(job):
    cluster = MadeUp([progress(1), ENDED])
    for when in ("wait", "here", "refuse"):
        cluster.scripts = [[progress(1), ENDED]]
        assert heard(cluster, when, job)[1] == [progress(1), ENDED]


def test_refused_is_the_line_and_nothing_against_the_scan(job):
    assert heard(MadeUp([progress(1), GONE]), "refuse", job)[1] == [progress(1), GONE]


def test_waited_for_it_goes_on_from_its_checkpoint(job):
    cluster = MadeUp([progress(1), GONE], [GONE], [progress(2), ENDED])
    _, messages = heard(cluster, "wait", job)
    kinds = [message["kind"] for message in messages]
    assert kinds == ["progress", "note", "note", "progress", "ended"]
    assert messages[1]["message"] == f"waiting for the cluster: {WHY}"
    assert [one.job.resume for one in cluster.jobs] == [False, True, True]


def test_here_it_goes_on_from_its_checkpoint_and_says_why(job):
    _, messages = heard(MadeUp([progress(1), GONE]), "here", job)
    assert [message["kind"] for message in messages] == ["progress", "place", "progress", "ended"]
    assert messages[1]["message"] == f"on this machine: {WHY}"
    here = Scripted.started[-1]
    assert here.job.resume and here.job.ends_at_once


def test_a_stop_while_it_waits_ends_it(job, monkeypatch):
    monkeypatch.setattr(fallback_module, "AGAIN_S", 30.0)
    running = Fallback(MadeUp([GONE]), "wait", Scripted, 1).launch(job)
    messages = []
    for message in running.messages():
        messages.append(message)
        if message["kind"] == "note":
            running.tell({"stop": True})
    assert (messages[-1]["kind"], messages[-1]["state"]) == ("ended", "stopped")
    assert "can continue from its last checkpoint" in messages[-1]["message"]


def test_what_is_told_reaches_it_wherever_it_runs(job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", [progress(1), "wait", ENDED])
    running = Fallback(MadeUp([GONE]), "here", Scripted, 1).launch(job)
    running.lower_priority()
    for message in running.messages():
        if message["kind"] == "progress":
            running.tell({"try": 1})
    assert Scripted.started[-1].told == [{"try": 1}]


def test_this_machine_takes_no_more_than_it_has_room_for(job):
    fallback = Fallback(MadeUp([GONE], [GONE]), "here", Scripted, 1)
    assert fallback.room.acquire(blocking=False)
    running = fallback.launch(job)
    messages = []
    for message in running.messages():
        messages.append(message["kind"])
        if message["kind"] == "note":
            fallback.room.release()
    assert messages == ["note", "place", "progress", "ended"]
    assert fallback.room.acquire(blocking=False), "the room is given back"


def test_as_many_at_a_time_as_the_cluster_or_else_this_machine_has_room(job):
    cluster = MadeUp()
    here, wait = (Fallback(cluster, when, Scripted, 2) for when in ("here", "wait"))
    assert (here.places(), wait.places()) == (3, 3)
    cluster.is_missing = True
    assert (here.places(), wait.places()) == (2, 1)
    here.close()
    assert cluster.closed
