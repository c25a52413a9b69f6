"""A job on fake workers that die, are busy, see none of our files, or are missing; code on the worker is real."""

import itertools
from dataclasses import replace

import h5py
import pytest
from results_writers import SETTINGS, save, small_result
from scripted_refinement import ENDED, Scripted, progress

from ptylive.engine.results import Run, add_refinement
from ptylive.schema import Calibration, PtyliveError
from ptylive.schema.preset import Preset
from ptylive.server.cluster import remote_job
from ptylive.server.cluster import runner as runner_module
from ptylive.server.cluster.remote_job import RemoteJob
from ptylive.server.cluster.runner import Runner
from ptylive.server.cluster.where import ClusterMissing
from ptylive.server.refinement.refine_job import RefineJob


def gone(why):
    return {"place_gone": True, "missing": why}


class Future:
    def __init__(self, value):
        self._value = value

    def result(self, timeout=None):
        if isinstance(self._value, Exception):
            raise self._value
        return self._value

    def cancel(self):
        pass


class Actor:
    """A runner on a worker that answers this many calls of ``hear``, then dies."""

    def __init__(self, runner, hears):
        self._runner, self._hears = runner, hears

    def __getattr__(self, method):
        def call(*arguments):
            if method == "hear" and next(self._hears, None) is None:
                return Future(OSError("Unable to contact Actor's worker"))
            return Future(getattr(self._runner, method)(*arguments))

        return call


class MadeUpCluster:
    """Workers one after the other; ``lives``: how many calls each answers before it dies (None: all)."""

    def __init__(self, folder, lives=(None,), shared=True):
        self.client, self._folder, self._shared = self, folder, shared
        self._lives, self.resting, self.made = iter(lives), [], []
        self.there, self.unfit = True, None

    def take(self):
        if self.unfit is not None:
            raise self.unfit
        return ("tcp://w:1", 3)

    def reject(self, address, why):
        self.unfit = why

    def release(self, address, *, rest=False):
        self.resting.append(rest)

    def workers(self):
        return {"tcp://w:1": 3}

    def is_there(self):
        return self.there

    def gone(self):
        return PtyliveError("the scheduler has gone", "start it again")

    def check_patience(self, waited_s):
        pass

    def submit(self, kind, name, **options):
        assert kind is Runner and options["workers"] == ["tcp://w:1"]
        life = next(self._lives)
        if isinstance(life, Exception):
            return Future(life)
        runner_module._active.clear()
        runner = Runner(name, str(self._folder / f"worker{len(self.made)}"))
        if not self._shared:
            seen = runner.begin

            def begin(offer):
                answer = remote_job.unpack(seen(offer))
                return remote_job.pack({**answer, "sees_recording": False, "sees_folder": False})

            runner.begin = begin
        self.made.append(runner)
        return Future(Actor(runner, itertools.repeat(1) if life is None else iter(range(1, life + 1))))


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_job, "POLL_S", 0.005)
    monkeypatch.setattr(runner_module, "JobProcess", Scripted)
    monkeypatch.setattr(Scripted, "script", [progress(1), ENDED])
    monkeypatch.setattr(Scripted, "started", [])
    (tmp_path / "a.h5").write_bytes(b"frames" * 1000)
    given = RefineJob(tmp_path / "a.h5", tmp_path / "a_results.h5", "run1", Preset(), Calibration())
    return replace(given, checkpoint=tmp_path / "a.checkpoint", methods=("obf",))


def said(running):
    return [message for message in running.messages() if message["kind"] not in ("place", "note")]


def test_progress_and_end_come_as_from_a_process_here(tmp_path, job):
    cluster = MadeUpCluster(tmp_path)
    running = RemoteJob(job, lambda: cluster)
    messages = list(running.messages())
    assert [message["kind"] for message in messages] == ["place", "progress", "ended"]
    assert "tcp://w:1" in messages[0]["message"]
    given = Scripted.started[0].job
    assert (given.threads, given.recording, given.resume) == (3, job.recording, False)
    assert cluster.resting == [False]
    assert [path.name for path in tmp_path.glob(".*")] == [], "no marker is left"


def test_a_job_goes_on_from_its_checkpoint_where_a_worker_has_died(tmp_path, job, monkeypatch):
    def kept(given):
        given.checkpoint.write_bytes(b"state")

    monkeypatch.setattr(Scripted, "script", [progress(1), kept, "wait"])
    cluster = MadeUpCluster(tmp_path, lives=(30, None))
    running = RemoteJob(job, lambda: cluster)
    heard = []
    for message in running.messages():
        heard.append(message)
        if message.get("lost"):
            monkeypatch.setattr(Scripted, "script", [progress(2), ENDED])
    assert [m["epoch"] for m in heard if m["kind"] == "progress"] == [1, 2]
    assert heard[-1] == ENDED
    assert [one.job.resume for one in Scripted.started] == [False, True]
    assert cluster.resting == [True, False]


def test_where_no_checkpoint_was_written_it_begins_anew(tmp_path, job, monkeypatch):
    job.checkpoint.write_bytes(b"of an earlier run with other settings")
    monkeypatch.setattr(Scripted, "script", ["wait"])
    cluster = MadeUpCluster(tmp_path, lives=(3, OSError("it died at once"), None))
    running = RemoteJob(job, lambda: cluster)
    for message in running.messages():
        if "was lost" in str(message.get("message")):
            monkeypatch.setattr(Scripted, "script", [ENDED])
    assert [one.job.resume for one in Scripted.started] == [False, False]


def test_workers_that_die_one_after_the_other_condemn_the_refinement(tmp_path, job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", ["wait"])
    cluster = MadeUpCluster(tmp_path, lives=[1] * remote_job.MOST_LOST)
    (last,) = said(RemoteJob(job, lambda: cluster))
    assert last["kind"] == "failed" and not last["place_gone"]
    assert f"{remote_job.MOST_LOST} workers in a row were lost" in last["message"]


def test_a_scheduler_that_has_gone_is_nothing_against_the_scan(tmp_path, job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", ["wait"])
    cluster = MadeUpCluster(tmp_path, lives=(1,))
    cluster.there = False
    (last,) = said(RemoteJob(job, lambda: cluster))
    assert last == {
        "kind": "failed",
        "message": "the scheduler has gone: start it again",
        **gone("the scheduler has gone"),
    }


def test_a_cluster_that_is_not_there_is_one_line(job):
    def nobody():
        raise ClusterMissing("no Dask scheduler answers", "start one")

    (last,) = RemoteJob(job, nobody).messages()
    assert last == {
        "kind": "failed",
        "message": "no Dask scheduler answers: start one",
        **gone("no Dask scheduler answers"),
    }


def test_a_worker_without_ptylive_or_with_another_is_one_line(tmp_path, job, monkeypatch):
    cluster = MadeUpCluster(tmp_path, lives=(ModuleNotFoundError("No module named 'ptylive'"),))
    (last,) = said(RemoteJob(job, lambda: cluster))
    assert "install ptylive[cluster] there" in last["message"]
    monkeypatch.setattr(runner_module, "version", lambda _: "0.0.1")
    (last,) = said(RemoteJob(job, lambda: MadeUpCluster(tmp_path)))
    assert "the worker tcp://w:1 has ptylive 0.0.1" in last["message"]


def test_a_worker_of_another_version_is_left_for_one_that_fits(tmp_path, job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", [ENDED])
    versions = iter(["0.0.1", remote_job.version("ptylive")])
    monkeypatch.setattr(runner_module, "version", lambda _: next(versions))
    cluster = MadeUpCluster(tmp_path, lives=(None, None))
    monkeypatch.setattr(cluster, "reject", lambda _address, why: None)
    messages = list(RemoteJob(job, lambda: cluster).messages())
    assert messages[-1]["kind"] == "ended"
    (told,) = [one["message"] for one in messages if "lost" in one]
    assert told.startswith("the worker tcp://w:1 has ptylive 0.0.1, this machine") and told.endswith("it is not used")


def test_a_worker_without_room_is_left_for_another_and_why(tmp_path, job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", [ENDED])
    full = OSError(28, "No space left on device")
    heard = [m for m in RemoteJob(job, lambda: MadeUpCluster(tmp_path, lives=(full, None))).messages() if "lost" in m]
    assert [m["message"] for m in heard] == ["tcp://w:1 was lost (no room on its disk): continuing on another worker"]


def test_a_worker_that_is_busy_is_left_for_another(tmp_path, job, monkeypatch):
    often = remote_job.MOST_LOST + 1
    busy = iter([True] * often + [False])
    begin = Runner.begin
    monkeypatch.setattr(
        Runner,
        "begin",
        lambda self, offer: remote_job.pack({**remote_job.unpack(begin(self, offer)), "busy": next(busy)}),
    )
    cluster = MadeUpCluster(tmp_path, lives=[None] * (often + 1))
    assert said(RemoteJob(job, lambda: cluster))[-1] == ENDED
    assert cluster.resting == [True] * often + [False]


def test_a_stop_reaches_the_refinement_and_before_there_is_one_it_is_the_end(tmp_path, job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", [progress(1), "wait", {**ENDED, "state": "stopped"}])
    running = RemoteJob(job, lambda: MadeUpCluster(tmp_path))
    for message in running.messages():
        if message["kind"] == "progress":
            running.tell({"stop": True})
    assert message["state"] == "stopped"
    assert Scripted.started[0].told == [{"stop": True}]

    waiting = RemoteJob(job, lambda: MadeUpCluster(tmp_path))
    waiting.tell({"stop": True})
    (last,) = waiting.messages()
    assert (last["state"], last["message"]) == ("stopped", "stopped before it began")


def test_an_end_ends_the_refinement_there(tmp_path, job, monkeypatch):
    monkeypatch.setattr(Scripted, "script", [progress(1), "wait"])
    running = RemoteJob(job, lambda: MadeUpCluster(tmp_path))
    for message in running.messages():
        if message["kind"] == "progress":
            running.end()
    assert message["kind"] == "failed"
    assert Scripted.started[0].is_over


def test_a_worker_that_sees_nothing_is_sent_the_recording_and_sends_the_result(tmp_path, job, monkeypatch):
    def maps(given):
        assert given.recording.read_bytes() == job.recording.read_bytes()
        save(given.results, 2.0)

    ended = dict(ENDED)

    def result(given):
        assert given.results != job.results
        ended["results"] = str(given.results)
        given.checkpoint.write_bytes(b"last state")
        run = Run("run1", Preset(), small_result(7.0))
        add_refinement(given.results, run, Calibration(), SETTINGS)

    script = [maps, {"kind": "maps"}, progress(1), result, ended]
    monkeypatch.setattr(Scripted, "script", script)
    last = said(RemoteJob(job, lambda: MadeUpCluster(tmp_path, shared=False)))[-1]
    assert (last["results"], last["run"]) == (str(job.results), "run1")
    with h5py.File(job.results) as file:
        assert file["refinement/object"][0, 0, 0, 0] == 7.0
        assert float(file["maps/obf"][0, 0]) == 2.0
    assert job.checkpoint.read_bytes() == b"last state"


def test_a_recording_that_is_gone_is_one_line(tmp_path, job):
    job.recording.unlink()
    (last,) = said(RemoteJob(job, lambda: MadeUpCluster(tmp_path)))
    assert last["message"] == f"{job.recording}: No such file or directory"
