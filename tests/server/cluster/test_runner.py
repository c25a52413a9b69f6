"""The part that runs on a worker: what it sees, what it receives, what it reports."""

import gc
import time

import pytest
from scripted_refinement import ENDED, Scripted, progress

from ptylive.schema import Calibration
from ptylive.schema.preset import Preset
from ptylive.server.cluster import runner as module
from ptylive.server.cluster.runner import Runner
from ptylive.server.cluster.transfer import FileIdentity
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.wire.messages import pack, unpack


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A recording, and fake refinements."""
    monkeypatch.setattr(module, "JobProcess", Scripted)
    monkeypatch.setattr(Scripted, "script", [progress(1), ENDED])
    monkeypatch.setattr(Scripted, "started", [])
    module._active.clear()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.h5").write_bytes(b"frames" * 100)
    return tmp_path / "here"


def job(here):
    return RefineJob(
        here / "a.h5", here / "a_results.h5", "run1", Preset(), Calibration(), checkpoint=here / "a.checkpoint"
    )


def offer(here, marker="there"):
    identity = FileIdentity.of(here / "a.h5").to_plain()
    return pack({"identity": identity, "recording": str(here / "a.h5"), "folder": str(here), "marker": marker})


def begun(tmp_path, here, name="one", **worker):
    runner = Runner(name, str(tmp_path / "worker"))
    return runner, unpack(runner.begin(offer(here, **worker)))


def start(runner, here, *, recording=True, folder=True):
    identity = FileIdentity.of(here / "a.h5").to_plain()
    where = {"sees_recording": recording, "sees_folder": folder, "identity": identity}
    runner.start(pack(job(here).to_plain()), pack(where))


def everything(runner):
    """All messages of a runner."""
    messages, give_up = [], time.monotonic() + 30
    while time.monotonic() < give_up:
        said = unpack(runner.hear())
        messages += said["messages"]
        if said["ended"] is not None:
            return messages, said["ended"]
        time.sleep(0.005)
    raise AssertionError(messages)


def test_the_same_file_and_folder_are_seen(tmp_path, here):
    (here / "there").write_text("there")
    runner, answer = begun(tmp_path, here)
    assert (answer["busy"], answer["sees_recording"], answer["sees_folder"]) == (False, True, True)
    start(runner, here)
    assert everything(runner) == ([progress(1), ENDED], "it was killed")
    (given,) = Scripted.started
    assert (given.job.recording, given.job.results) == (here / "a.h5", here / "a_results.h5")
    assert given.job.ends_at_once, "with whoever asked, for the job is gone on with elsewhere"


def test_a_file_of_the_same_name_is_not_the_same_and_neither_is_a_folder(tmp_path, here):
    asked = offer(here)
    (here / "a.h5").write_bytes(b"others" * 100)
    answer = unpack(Runner("one", str(tmp_path / "worker")).begin(asked))
    assert (answer["sees_recording"], answer["sees_folder"], answer["has_recording"]) == (False, False, False)


def test_what_is_not_seen_is_sent_and_lies_in_the_worker_s_folder(tmp_path, here):
    runner, _ = begun(tmp_path, here)
    identity = FileIdentity.of(here / "a.h5").to_plain()
    runner.put_recording(identity, str(here / "a.h5"), 0, b"frames" * 50)
    assert not unpack(runner.begin(offer(here)))["has_recording"], "half of it"
    runner.put_recording(identity, str(here / "a.h5"), 300, b"frames" * 50)
    runner.put_recording(identity, str(here / "a.h5"), 600, b"")
    assert unpack(runner.begin(offer(here)))["has_recording"]
    start(runner, here, recording=False, folder=False)
    everything(runner)
    (given,) = Scripted.started
    assert given.job.recording.name == "a.h5", "results tell the name of the recording"
    assert given.job.recording.read_bytes() == (here / "a.h5").read_bytes()
    assert given.job.results.is_relative_to(tmp_path / "worker")
    assert given.job.checkpoint.is_relative_to(tmp_path / "worker")


def test_one_recording_is_kept_for_later_jobs_and_no_more(tmp_path, here):
    first, _ = begun(tmp_path, here)
    identity = FileIdentity.of(here / "a.h5").to_plain()
    for start_at, piece in ((0, b"frames" * 100), (600, b"")):
        first.put_recording(identity, str(here / "a.h5"), start_at, piece)
    first.end()
    second, answer = begun(tmp_path, here, "two")
    assert answer["has_recording"]
    second.put_recording([3, 4, "other"], "b.h5", 0, b"123")
    second.put_recording([3, 4, "other"], "b.h5", 3, b"")
    assert not unpack(second.begin(offer(here)))["has_recording"]


def test_one_job_at_a_time(tmp_path, here):
    first, _ = begun(tmp_path, here)
    assert begun(tmp_path, here, "two")[1]["busy"]
    first.end()
    assert not begun(tmp_path, here, "three")[1]["busy"]


def test_of_pictures_only_the_last_ones_travel(tmp_path, here, monkeypatch):
    shown = [progress(n, object={"data": b"x"}, probe={"data": b"y"}) for n in range(3)]
    monkeypatch.setattr(Scripted, "script", [*shown, progress(3)])
    runner, _ = begun(tmp_path, here)
    start(runner, here)
    while len(runner._heard) < 4:
        time.sleep(0.005)
    messages = unpack(runner.hear())["messages"]
    assert ["object" in message for message in messages] == [False, False, True, False]
    assert [message["epoch"] for message in messages] == [0, 1, 2, 3]


def test_files_are_fetched_as_they_are_written(tmp_path, here, monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 4)
    runner, _ = begun(tmp_path, here)
    runner.put("a.checkpoint", 0, b"0123456789")
    assert runner.changed(["a.checkpoint", "gone"]) == ["a.checkpoint"]
    assert runner.changed(["a.checkpoint"]) == []
    first = runner.get("a.checkpoint", 0)
    (runner._folder / "new").write_bytes(b"ABCDEFGHIJ")
    (runner._folder / "new").replace(runner._folder / "a.checkpoint")
    assert first + runner.get("a.checkpoint", 4) + runner.get("a.checkpoint", 8) == b"0123456789", "not of two states"
    assert runner.get("a.checkpoint", 10) == b""
    assert runner.changed(["a.checkpoint"]) == ["a.checkpoint"]


def test_a_refinement_that_found_no_room_is_fetched_from_where_it_is(tmp_path, here, monkeypatch):
    stored = tmp_path / "a_results.h5.run1.pending"
    stored.write_bytes(b"refined")
    monkeypatch.setattr(Scripted, "script", [{**ENDED, "results": str(stored)}])
    runner, _ = begun(tmp_path, here)
    start(runner, here, folder=False)
    everything(runner)
    assert runner.get(stored.name, 0) == b"refined"
    assert runner.get(stored.name, 7) == b""
    runner.end()
    assert not stored.exists()


def test_results_in_a_folder_that_both_see_stay(tmp_path, here, monkeypatch):
    stored = here / "a_results.h5"
    stored.write_bytes(b"refined")
    monkeypatch.setattr(Scripted, "script", [{**ENDED, "results": str(stored)}])
    runner, _ = begun(tmp_path, here)
    start(runner, here)
    everything(runner)
    runner.end()
    assert stored.read_bytes() == b"refined"


def test_a_disk_that_takes_a_part_of_a_piece_is_asked_for_the_rest(tmp_path, here, monkeypatch):
    write = module.os.pwrite
    monkeypatch.setattr(module.os, "pwrite", lambda handle, piece, start: write(handle, piece[:3], start))
    runner, _ = begun(tmp_path, here)
    runner.put("a.checkpoint", 0, b"0123456789")
    assert (runner._folder / "a.checkpoint").read_bytes() == b"0123456789"


def test_names_lead_nowhere_else(tmp_path, here):
    runner, _ = begun(tmp_path, here, "../../x")
    runner.put("../../../y", 0, b"1")
    assert (tmp_path / "worker" / "ptylive" / "x" / "y").exists()


def test_a_message_is_handed_on_and_the_end_leaves_nothing(tmp_path, here, monkeypatch):
    monkeypatch.setattr(Scripted, "script", ["wait", ENDED])
    runner, _ = begun(tmp_path, here)
    start(runner, here)
    runner.tell(pack({"stop": True}))
    assert everything(runner)[0] == [ENDED]
    assert Scripted.started[0].told == [{"stop": True}]
    runner.end()
    assert Scripted.started[0].is_over
    assert not (tmp_path / "worker" / "ptylive" / "one").exists()


def test_a_refinement_ends_with_a_runner_that_nobody_holds(tmp_path, here, monkeypatch):
    """As when the client was killed: Dask releases the actor."""
    monkeypatch.setattr(Scripted, "script", ["wait"])
    runner, _ = begun(tmp_path, here)
    start(runner, here)
    del runner
    gc.collect()
    assert Scripted.started[0].is_over
