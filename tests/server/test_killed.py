"""Processes killed in the middle of a scan: recorded frames survive, and a listening sender completes the scan."""

import threading
import time

import h5py
import numpy as np
import psutil
import pytest
from running import Server, frame_hashes, server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.source import open_source

SOURCE = bundled("mos2_svac_80kV_focus")


def replay_in_background(settings: ReplaySettings):
    """A replay in a thread, and its outcome."""
    outcome = {}

    def run():
        try:
            outcome["report"] = replay(SOURCE, settings)
        except Exception as error:
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


@pytest.mark.slow
def test_killed_dashboard_costs_nothing_and_comes_back(tmp_path):
    with server(tmp_path, "--dashboard", "127.0.0.1:0") as running:
        thread, outcome = replay_in_background(ReplaySettings(to=running.data, rate=1200.0))
        running.wait_for(lambda s: s["frames"] > 500)
        dashboards = [p for p in psutil.Process(running.process.pid).children() if "ptylive.dashboard" in p.cmdline()]
        assert len(dashboards) == 1
        dashboards[0].kill()
        status = running.wait_for_results()
        thread.join(300)
        assert outcome["report"].frames == 4096
        assert (status["frames"], status["lost"]) == (4096, 0)
        assert frame_hashes(status["recording"]) == frame_hashes(SOURCE)
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            again = [p for p in psutil.Process(running.process.pid).children() if "ptylive.dashboard" in p.cmdline()]
            if again and again[0].pid != dashboards[0].pid:
                break
            time.sleep(0.2)
        else:
            raise AssertionError("the dashboard did not come back")


@pytest.mark.slow
def test_killed_server_recovers_and_the_sender_completes_the_scan(tmp_path):
    first = Server(tmp_path)
    settings = ReplaySettings(to=first.data, control=first.control, rate=300.0, safe_timeout_s=300.0)
    try:
        thread, outcome = replay_in_background(settings)
        first.wait_for(lambda s: s["frames"] > 800)
        uid = first.status()["uid"]
        safe = np.zeros(4096, bool)
        for start, stop in first.call("received", uid=uid)["ranges"]:
            safe[start:stop] = True
        assert safe.any()
        first.kill()
    finally:
        first.stop()
    assert list(tmp_path.glob("*.journal"))
    with server(tmp_path, data=first.data, control=first.control) as second:
        status = second.wait_for_results()
        thread.join(300)
        assert "error" not in outcome, outcome["error"]
        assert (status["uid"], status["state"], status["frames"]) == (uid, "complete", 4096)
        assert frame_hashes(status["recording"]) == frame_hashes(SOURCE)
        assert not list(tmp_path.glob("*.journal"))


@pytest.mark.slow
def test_a_server_killed_while_its_recording_is_made_leaves_maps_to_the_next(tmp_path):
    """Its recorder finishes the recording, maybe before the next server starts."""
    first = Server(tmp_path)
    try:
        replay(SOURCE, ReplaySettings(to=first.data, rate=4000.0))
        give_up = time.monotonic() + 300
        while not (list(tmp_path.glob(".*.h5.*.tmp")) and list(tmp_path.glob(".*.unmade"))):
            assert time.monotonic() < give_up
            time.sleep(0.005)
        first.kill()
    finally:
        first.stop()
    with server(tmp_path) as second:
        second.wait_for(lambda s: list(tmp_path.glob("*_results.h5")))
    (recording,) = (path for path in tmp_path.glob("*.h5") if not path.stem.endswith("_results"))
    assert frame_hashes(recording) == frame_hashes(SOURCE)
    assert not list(tmp_path.glob(".*.unmade"))


@pytest.mark.slow
def test_every_safe_frame_is_recovered_without_the_sender(tmp_path):
    first = Server(tmp_path)
    try:
        thread, _ = replay_in_background(ReplaySettings(to=first.data, rate=300.0, timeout_s=2.0))
        first.wait_for(lambda s: s["frames"] > 800)
        safe = np.zeros(4096, bool)
        for start, stop in first.call("received", uid=first.status()["uid"])["ranges"]:
            safe[start:stop] = True
        first.kill()
    finally:
        first.stop()
    thread.join(300)
    with server(tmp_path) as second:
        status = second.wait_for_results()
        assert status["state"] == "aborted"
        with open_source(status["recording"]) as source:
            assert not (safe & ~source.received).any()
        with h5py.File(status["results"]) as file:
            assert file["coverage"][()].sum() == status["frames"]
