"""A server stopped or killed while trials run: no process is left, and the next server resumes the trials."""

import time
from pathlib import Path

import psutil
import pytest
from running import Server, server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

pytestmark = pytest.mark.slow
MODULES = ("tune_process", "refine_process", "batch_process")
ASKED = {"over": ["defocus=-200:200"], "preset": {"probe_modes": 1}, "patterns": 128, "sweeps": 2}


def workers() -> set[int]:
    """Processes of trials and refinements on this machine."""
    found = set()
    for one in psutil.process_iter(["cmdline"]):
        words = " ".join(one.info["cmdline"] or ())
        if any(f"ptylive.server.{room}" in words for room in ("tune.", "refinement.", "batch.")) and any(
            name in words for name in MODULES
        ):
            found.add(one.pid)
    return found


def some_trials(running: Server, number: int) -> dict:
    deadline = time.monotonic() + 300
    while (status := running.call("tune_status")).get("ended", 0) < number:
        assert time.monotonic() < deadline and status["state"] == "running", status
        time.sleep(0.2)
    return status


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_trials_end_with_their_server_and_go_on_with_the_next(tmp_path: Path, *, killed: bool) -> None:
    before = workers()
    with server(tmp_path, "--headless") as running:
        replay(bundled("mos2_svac_80kV_focus"), ReplaySettings(to=running.data, rate=4000.0))
        recording = Path(running.wait_for_results()["recording"]).name
        running.call("tune", trials=500, **ASKED)
        ended = some_trials(running, 3)["ended"]
        assert workers() - before
        if killed:
            running.kill()
    deadline = time.monotonic() + 30
    while workers() - before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not workers() - before, "a process is left behind"

    with server(tmp_path, "--headless") as running:
        running.call("open", recording=recording)
        running.call("tune", trials=ended + 4, **ASKED)
        status = some_trials(running, ended)
        assert status["trials"][0]["number"] == 0, "those that had ended are there"
        deadline = time.monotonic() + 300
        while running.call("tune_status")["state"] == "running":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        status = running.call("tune_status")
        assert (status["state"], status["ended"] >= ended + 4) == ("done", True), status["message"]
    with server(tmp_path, "--headless") as running:
        running.call("open", recording=recording)
        kept = running.call("tune_status")
        assert kept["state"] == "kept" and kept["ended"] == status["ended"]
        assert kept["asked"]["over"] == ASKED["over"]
