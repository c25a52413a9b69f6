"""Refinements of a session, one at a time: an announced one is not displaced by another of the same name."""

import math
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_refinement import ENDED, Scripted, progress

from ptylive.engine.refine.results.refinement_result import Progress
from ptylive.schema import Calibration, CommandError
from ptylive.schema.preset import Preset
from ptylive.server.refinement.refine_job import RefineJob, progress_to_plain
from ptylive.server.refinement.refinements import Refinements, RunState
from ptylive.server.wire.messages import pack, unpack


def test_a_run_that_waits_for_its_scan_is_not_taken_for_one_of_another_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of runs start again with every scan."""
    heard: list[dict[str, Any]] = []
    publisher = SimpleNamespace(publish=lambda _topic, payload: heard.append(payload))
    refinements = Refinements(publisher, lambda _run: None)  # type: ignore[arg-type]
    monkeypatch.setattr(subprocess, "Popen", lambda *_a, **_k: pytest.fail("a process was started"))
    refinements.queue("run1", "new", "0143")
    job = RefineJob(Path("old.h5"), Path("old_results.h5"), "run1", Preset(), Calibration(), resume=True)
    with pytest.raises(CommandError, match="run1 is queued"):
        refinements.start(job, "old")
    assert (refinements.current.uid, refinements.current.state) == ("new", "queued")
    assert [payload["uid"] for payload in heard] == ["new"]


def step(epoch: int, loss: float | None) -> dict[str, Any]:
    numbers = {"epochs": 9, "seconds": 1.0, "seconds_left": 2.0, "evaluations": 3.0}
    return {"phase": "sweep", "epoch": epoch, "loss": loss, "message": "", "warning": "", **numbers}


def test_a_run_that_begins_anew_after_the_scan_tells_its_own_losses() -> None:
    """Rounds during the scan become useless once the calibration has changed: epochs count from 0 again."""
    run = RunState("queued", "run1", "uid")
    for epoch, loss in ((0, None), (1, 140.0), (2, 121.0), (2, 121.0), (0, None), (1, 13.7)):
        run.advance(step(epoch, loss))
    assert (run.state, run.epoch, run.loss, run.losses, run.phases) == ("running", 1, 13.7, [13.7], ["sweep"])


def test_a_run_that_goes_on_tells_its_losses_from_the_first_epoch() -> None:
    """Regression: after "+20 epochs" the page drew 21 losses of 24 epochs, the first of them at epoch 1."""
    run = RunState("queued", "run1", "uid")
    run.advance({**step(3, 7.0), "losses": [9.0, 8.0, 7.0], "phases": ["sweep", "sweep", "lbfgs"]})
    run.advance({**step(3, 7.0), "losses": [], "phases": []})
    run.advance({**step(5, 5.0), "losses": [6.0, 5.0], "phases": ["lbfgs", "lbfgs"]})
    assert run.losses == [9.0, 8.0, 7.0, 6.0, 5.0]
    assert run.phases == ["sweep", "sweep", "lbfgs", "lbfgs", "lbfgs"]
    unknown = RunState("queued", "run1", "uid")  # a stage before the one that a new process continues
    unknown.advance({**step(5, 5.0), "losses": [5.0], "phases": ["lbfgs"]})
    assert (len(unknown.losses), len(unknown.phases), unknown.losses[-1]) == (5, 5, 5.0)
    assert all(math.isnan(loss) for loss in unknown.losses[:4])


def test_a_step_tells_the_losses_that_no_earlier_one_told() -> None:
    made = Progress("running", "lbfgs", 24, 30, 5.0, 1.0, 2.0, 3.0, losses=(7.0, 6.0, 5.0), phases=("lbfgs",) * 3)
    assert progress_to_plain(made)["losses"] == [7.0, 6.0, 5.0]
    assert progress_to_plain(made, told=23)["losses"] == [5.0]
    assert progress_to_plain(made, told=24)["losses"] == progress_to_plain(made, told=24)["phases"] == []


def test_an_event_says_where_stages_began() -> None:
    run = RunState("queued", "run1", "uid")
    run.advance(step(1, 140.0))
    assert run.event(pictures=False)["stages"] == []
    run.advance({**step(3, 90.0), "stages": [0, 2]})
    assert run.event(pictures=False)["stages"] == [0, 2]


def test_stages_travel_with_a_job() -> None:
    preset = Preset.from_mapping(
        {"num_slices": 1, "stages": [{"name": "a", "window_px": 64}, {"update_probe_pos": "epoch > 2"}]}
    )
    job = RefineJob(Path("a.h5"), Path("a_results.h5"), "run1", preset, Calibration())
    assert RefineJob.from_plain(unpack(pack(job.to_plain()))).preset.in_stages() == preset.in_stages()


def test_trials_are_running_and_no_epoch() -> None:
    run = RunState("queued", "run1", "uid")
    run.try_out("trying 4 probe modes")
    assert (run.state, run.phase, run.message) == ("running", "trial", "trying 4 probe modes")
    assert run.summary()["message"] == "trying 4 probe modes"
    run.advance(step(1, 140.0))
    assert (run.phase, run.message, run.losses, run.phases) == ("sweep", "", [140.0], ["sweep"])


def test_status_says_where_a_refinement_runs_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "on tcp://w:1, one of 2 workers"
    told = {"kind": "place", "message": place, "workers": 2}
    monkeypatch.setattr(Scripted, "script", [told, {"kind": "maps"}, progress(3), ENDED])
    ended = threading.Event()
    publisher = SimpleNamespace(publish=lambda _topic, _payload: None, log=lambda _level, _line: None)
    refinements = Refinements(publisher, lambda _run: ended.set(), Scripted)  # type: ignore[arg-type]
    assert "place" not in refinements.current.summary()
    refinements.start(RefineJob(Path("a.h5"), Path("a_results.h5"), "run1", Preset(), Calibration()), "uid")
    assert ended.wait(30)
    assert (refinements.current.state, refinements.current.epoch) == ("done", 3)
    assert refinements.current.summary()["place"] == place
    assert refinements.current.summary()["workers"] == 2
    assert refinements.summary()["ended"] == [refinements.current.summary()]


def test_the_deviation_is_told_with_the_pictures_at_the_end() -> None:
    run = RunState("queued", "run1", "uid")
    run.advance({**step(1, 140.0), "object": {"data": b""}, "probe": {"data": b""}})
    assert "object_deviation" not in run.event(pictures=True)
    run.advance({**step(2, 130.0), "object": {"data": b""}, "object_deviation": {"data": b"x"}})
    assert run.event(pictures=True)["object_deviation"] == {"data": b"x"}
    assert not {"object", "probe", "slices", "object_deviation"} & run.event(pictures=False).keys()


def test_a_run_that_has_not_come_to_rest_says_so() -> None:
    refinements = Refinements(SimpleNamespace(publish=lambda *_: None), lambda _run: None)  # type: ignore[arg-type]
    ended = {"kind": "ended", "run": "", "algorithm": "", "reason": "", "problem": "", "message": ""}
    for state, falling, converged in (("done", True, False), ("stopped", False, None)):
        refinements.current = RunState("running", "run1", "uid")
        refinements._conclude({**ended, "state": state, "falling": True, "converged": False}, "")
        event = refinements.current.event(pictures=False)
        assert (event["falling"], event["converged"]) == (falling, converged)


def test_where_a_run_is_that_did_not_fit_into_the_results_file_is_said() -> None:
    refinements = Refinements(SimpleNamespace(publish=lambda *_: None), lambda _run: None)  # type: ignore[arg-type]
    ended = {"kind": "ended", "state": "done", "run": "", "algorithm": "", "reason": "", "message": ""}
    refinements.current = RunState("running", "run1", "uid")
    refinements._conclude({**ended, "problem": "disk full: it is in /tmp/r.pending"}, "")
    assert refinements.current.summary()["warning"] == "disk full: it is in /tmp/r.pending"


def test_a_run_that_was_stopped_before_it_began_did_not_fail() -> None:
    """Regression: stopping during the trials was reported as "refinement run1 failed", in red."""
    refinements = Refinements(SimpleNamespace(publish=lambda *_: None), lambda _run: None)  # type: ignore[arg-type]
    for stopped, state in ((True, "stopped"), (False, "failed")):
        refinements.current = RunState("stopping", "run1", "uid")
        refinements._conclude({"kind": "failed", "message": "stopped on request", "stopped": stopped}, "")
        assert refinements.current.state == state
        assert refinements.current.message == "stopped on request"


def test_a_run_whose_process_ended_when_it_was_told_to_stop_did_not_fail() -> None:
    """As a process does that compiles."""
    refinements = Refinements(SimpleNamespace(publish=lambda *_: None), lambda _run: None)  # type: ignore[arg-type]
    for before, after in (
        ("stopping", ("stopped", "stopped on request")),
        ("running", ("failed", "ended with status 9")),
    ):
        refinements.current = RunState(before, "run1", "uid")
        refinements._conclude({}, "ended with status 9")
        assert (refinements.current.state, refinements.current.message) == after


def test_what_was_found_is_in_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    drift = {"value": [2.1, -0.6], "origin": "estimated", "uncertainty": [0.4, 0.1]}
    monkeypatch.setattr(Scripted, "script", [progress(3), {**ENDED, "found": {"drift_A": drift}}])
    heard, ended = [], threading.Event()
    publisher = SimpleNamespace(publish=lambda _topic, payload: heard.append(payload))
    refinements = Refinements(publisher, lambda _run: ended.set(), Scripted)  # type: ignore[arg-type]
    job = RefineJob(Path("a.h5"), Path("a_results.h5"), "run1", Preset(), Calibration())
    refinements.start(job, "a")
    assert ended.wait(30)
    assert (heard[0]["found"], heard[-1]["found"]) == ({}, {"drift_A": drift})


def test_a_run_that_ends_with_the_server_did_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the last line of a server that was told to end was an error."""
    monkeypatch.setattr(Scripted, "script", ["wait"])
    publisher = SimpleNamespace(publish=lambda *_: None, log=lambda *_: None)
    refinements = Refinements(publisher, lambda _run: None, Scripted)  # type: ignore[arg-type]
    refinements.start(RefineJob(Path("a.h5"), Path("a_results.h5"), "run1", Preset(), Calibration()), "a")
    refinements.close()
    assert (refinements.current.state, refinements.current.message) == ("stopped", "ended with the server")


@pytest.mark.parametrize("left", [True, False])
def test_a_run_whose_process_was_killed_says_that_it_can_be_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: bool
) -> None:
    """Regression: "killed (signal 9)" and no remedy, while *resume* would have continued it."""
    checkpoint = tmp_path / "a_run1.checkpoint"
    if left:
        monkeypatch.setattr("ptylive.engine.refine.run.checkpoint.exists", lambda path: path == checkpoint)
    monkeypatch.setattr(Scripted, "script", [progress(3)])
    ended = threading.Event()
    publisher = SimpleNamespace(publish=lambda *_: None, log=lambda *_: None)
    refinements = Refinements(publisher, lambda _run: ended.set(), Scripted)  # type: ignore[arg-type]
    results = tmp_path / "a_results.h5"
    refinements.start(
        RefineJob(tmp_path / "a.h5", results, "run1", Preset(), Calibration(), checkpoint=checkpoint), "a"
    )
    assert ended.wait(30)
    remedy = ": resume continues from its last checkpoint" if left else ""
    assert (refinements.current.state, refinements.current.message) == ("failed", f"it was killed{remedy}")
    assert refinements.current.event(pictures=False)["resumable"] is left
