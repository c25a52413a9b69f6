"""Refining while a scan runs: through real processes, from the first rows to the results file."""

import importlib.util
import threading
import time

import h5py
import pytest
from running import last_json, ptylive, server
from shared_data import shared_data

from ptylive.engine.refine.run.incremental import FIRST_SWEEPS
from ptylive.schema import CommandError
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.source import open_source

QUICK = ("--set", "refine.probe_modes=1", "--set", "refine.algorithm=lsq_sqrt")


PATIENCE_S = 200.0
"""Timeout: a refinement may have to compile first."""


def refined(status) -> bool:
    return status["refinement"]["state"] in ("done", "stopped", "failed")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_scan_is_refined_from_its_first_rows_on(tmp_path):
    source = shared_data("tiny_mos2_80kV_focus")
    with server(tmp_path, *QUICK, "--set", "refine_during_scan=true", "--set", "idle_timeout_s=250") as running:

        def first_round_before_the_last_rows(sent: int, frames: int) -> None:
            if sent > 0.7 * frames:
                running.wait_for(lambda status: status["refinement"]["epoch"] >= FIRST_SWEEPS, timeout_s=PATIENCE_S)

        replay(source, ReplaySettings(to=running.data, rate=60), first_round_before_the_last_rows)
        status = running.wait_for(refined, timeout_s=PATIENCE_S)
        assert status["refinement"]["state"] == "done", status["refinement"]
        with h5py.File(status["results"]) as file:
            run = file["refinements/run1"]
            assert "started from an earlier refinement" in run.attrs["reason"]
            phases = list(run["loss"].attrs["phase"])
            assert len(run["loss"]) == len(phases)
            assert 8 <= phases.count("sweep") <= 11  # at most 8 in rounds, depending on the time, and 3 at the end
            assert phases.count("lbfgs") >= 6
            said = dict(file["settings"].attrs)
        assert running.call("runs")["runs"]["run1"]["state"] == "done"
    recording = tmp_path / said["scan_path"]
    with open_source(recording) as recorded:
        assert (said["scan_uid"], said["scan_sha256"]) == (recorded.stored_uid, recorded.digest())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_second_scan_waits_for_the_refinement_of_the_first(tmp_path):
    source = shared_data("tiny_mos2_80kV_focus")
    with server(tmp_path, *QUICK, "--set", "refine_during_scan=true") as running:
        for _ in range(2):
            replay(source, ReplaySettings(to=running.data))
        running.wait_for_results()
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            done = [path for path in tmp_path.glob("*_results.h5") if has_run(path)]
            if len(done) == 2:
                break
            time.sleep(0.2)
        assert len(done) == 2


def has_run(path) -> bool:
    try:
        with h5py.File(path) as file:
            return "refinements/run1" in file
    except OSError:  # just being replaced
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stopped_in_the_middle_of_a_scan(tmp_path):
    source = shared_data("tiny_mos2_80kV_focus")
    with server(tmp_path, *QUICK) as running:
        sender = threading.Thread(target=replay, args=(source, ReplaySettings(to=running.data, rate=100)))
        sender.start()
        running.wait_for(lambda s: s["frames"] > 50)
        assert running.call("refine", during_scan=True)["state"] == "running"
        with pytest.raises(CommandError, match="stop it first"):
            running.call("refine", during_scan=True)
        running.call("refine_stop")
        status = running.wait_for(refined, timeout_s=PATIENCE_S)
        assert status["refinement"]["state"] == "stopped"
        sender.join()
        running.wait_for_results()
        assert running.call("runs")["runs"] == {}


def score_file(truth, results) -> float:
    """Correlation of the chosen refinement with the truth, by the shared tool."""
    tool = truth.parents[2] / "tools" / "score.py"
    if not tool.exists():
        pytest.skip("the scoring tool is not here")
    spec = importlib.util.spec_from_file_location("score", tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score_object(truth, results)["corr"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_object_of_a_growing_scan_is_as_good_as_that_of_a_whole_one(tmp_path):
    """mos2_svac at 200 frames/s; benchmarks/refine_during_scan.py measures how soon after the last frame."""
    source = shared_data("mos2_svac_80kV_focus")
    with server(tmp_path, "--set", "refine_during_scan=true") as running:
        replay(source, ReplaySettings(to=running.data, rate=200))
        status = running.wait_for(refined, timeout_s=120)
        early = score_file(source, status["results"])
        last_json(ptylive("refine-now", "--wait", "--control", running.control, "--json", timeout_s=200))
        whole = score_file(source, status["results"])
    assert status["refinement"]["state"] == "done"
    assert early >= 0.99 * whole
    assert early >= 0.98
