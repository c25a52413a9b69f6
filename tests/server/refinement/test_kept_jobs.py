"""The job of a refinement lies next to its checkpoint, from its beginning to its end and beyond."""

import os
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scripted_refinement import ENDED, Scripted, progress

from ptylive.schema import Calibration, CommandError
from ptylive.schema.files.filelock import locked
from ptylive.schema.preset import Preset
from ptylive.server.refinement import kept_jobs
from ptylive.server.refinement.kept_jobs import find, is_kept, path_of, release_unused
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.refinements import Refinements


@pytest.fixture
def job(tmp_path):
    checkpoint = tmp_path / "a.b_run1.checkpoint"
    checkpoint.touch()
    return RefineJob(
        tmp_path / "a.b.h5", tmp_path / "a.b_results.h5", "run1", Preset(), Calibration(), checkpoint=checkpoint
    )


@pytest.fixture
def refined(monkeypatch):
    """A function that lets a job run to its end; it returns what the log says."""

    def until_ended(job, *script):
        monkeypatch.setattr(Scripted, "script", [*script, progress(3), ENDED])
        said, ended = [], threading.Event()
        publisher = SimpleNamespace(publish=lambda _topic, _payload: None, log=lambda _level, line: said.append(line))
        Refinements(publisher, lambda _run: ended.set(), Scripted).start(job, "uid")
        assert ended.wait(30)
        return said

    return until_ended


def test_it_is_kept_while_a_refinement_runs_and_nobody_else_may_take_it_then(job, refined):
    seen = []

    def in_between(_job):
        seen.append(kept_jobs._read(path_of(job.checkpoint)).epochs)
        with pytest.raises(CommandError, match="another server is running this refinement"):
            find(job.recording)

    assert refined(job, in_between) == []
    assert seen == [None]
    kept = find(job.recording)
    assert (kept.epochs, kept.job.run, kept.job.checkpoint) == (3, "run1", job.checkpoint)


def test_a_job_of_rows_is_not_complete(job, refined, tmp_path):
    refined(replace(job, journal=tmp_path / "a.journal"))
    assert find(job.recording) is None


def test_without_room_it_runs_all_the_same(job, refined, monkeypatch):
    def full(_path):
        raise OSError(28, os.strerror(28), str(_path))

    monkeypatch.setattr(kept_jobs, "replacing", full)
    words = f"refinement run1 cannot be resumed after a restart: {path_of(job.checkpoint)}: No space left on device"
    assert refined(job) == [words, words]


def test_one_that_another_server_holds_runs_all_the_same(job, refined, monkeypatch):
    monkeypatch.setattr(kept_jobs, "PATIENCE_S", 0.1)
    with locked(path_of(job.checkpoint), 0.0):
        said = refined(job)
    assert "cannot be resumed after a restart" in said[0] and "is being written by" in said[0]


def test_it_goes_with_the_name_of_a_refinement_that_left_nothing(job, refined):
    refined(job)
    release_unused(job)
    assert path_of(job.checkpoint).exists()
    job.checkpoint.unlink()
    release_unused(job)
    assert not path_of(job.checkpoint).exists()


def test_a_recording_whose_name_begins_alike_is_another(job, refined):
    refined(job)
    assert find(job.recording.with_name("a.h5")) is None
    assert find(job.recording.with_name("a.b_run1.h5")) is None


@pytest.mark.parametrize(("script", "epochs"), [((), 12), ((progress(14),), 14)])
def test_a_resumed_run_that_fails_is_kept_with_the_epochs_it_has_done(job, monkeypatch, script, epochs):
    """Regression: a run that failed at once after it was resumed was kept without the epochs of its checkpoint."""
    monkeypatch.setattr(Scripted, "script", [*script, {"kind": "failed", "message": "no memory"}])
    ended = threading.Event()
    publisher = SimpleNamespace(publish=lambda _topic, _payload: None, log=lambda _level, _line: None)
    refinements = Refinements(publisher, lambda _run: ended.set(), Scripted)
    refinements.start(replace(job, resume=True), "uid", 12)
    assert ended.wait(30)
    assert (refinements.current.state, refinements.last_epochs) == ("failed", epochs)
    assert find(job.recording).epochs == epochs


def test_a_run_is_kept_with_its_job_and_its_checkpoint(job, refined):
    refined(job)
    assert is_kept(job.recording, "run1")
    assert not is_kept(job.recording, "run2") and not is_kept(None, "run1")
    job.checkpoint.unlink()
    assert not is_kept(job.recording, "run1")
