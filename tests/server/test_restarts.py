"""The receiving process dies in the middle of a scan: it restarts, and every acknowledged frame is there."""

import os
import signal
import threading
import time

import pytest
from running import Server, frame_hashes

from ptylive.schema import PtyliveError
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.serve import supervisor as module
from ptylive.server.serve.supervisor import MOST_RESTARTS, Supervisor
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

SOURCE = bundled("mos2_svac_80kV_focus")


@pytest.mark.slow
def test_a_killed_receiver_comes_back_and_the_scan_goes_on(tmp_path):
    running = Server(tmp_path)
    outcome = {}

    def send():
        settings = ReplaySettings(to=running.data, control=running.control, rate=1000.0, safe_timeout_s=120.0)
        outcome["report"] = replay(SOURCE, settings)

    thread = threading.Thread(target=send)
    try:
        thread.start()
        status = running.wait_for(lambda s: s["frames"] > 800)
        running.call("configure", values={"defocus_A": 12.5})
        running.call("configure", values={"convergence_semiangle_mrad": 29.0}, pin=True)
        running.call("map_settings", values={"wdd.epsilon": 0.02})
        disc = running.call("detectors", detectors=[{"name": "mine", "center_px": [31, 31], "outer_px": 9}])[
            "detectors"
        ]
        time.sleep(1.0)  # it checks five times a second for something to report
        os.kill(status["pids"]["acquire"], signal.SIGKILL)
        status = running.wait_for(lambda s: s["restarts"] == 1 and s["recording_state"] == "complete")
        assert status["pinned"] == {"convergence_semiangle_mrad": 29.0}
        assert status["map_settings"] == {"wdd.epsilon": 0.02}
        assert status["detectors"] == disc
        assert status["calibration"]["C10"] == {"value": -12.5, "origin": "given", "uncertainty": None}
        assert status["calibration"]["convergence_semiangle_mrad"]["value"] == 29.0
        thread.join(60)
        assert outcome["report"].frames == 4096
        assert (status["frames"], status["lost"]) == (4096, 0)
        assert "SIGKILL" in status["message"]
        assert frame_hashes(status["recording"]) == frame_hashes(SOURCE)
        running.process.terminate()
        said = running.process.stderr.read()
        assert running.process.wait(60) == ExitCode.DONE
        assert "THE RECEIVING PROCESS DIED (SIGNAL SIGKILL)" in said
        assert f"receiving again at {running.data}" in said
        assert "Traceback" not in said
    finally:
        running.stop()
        thread.join(60)


class Dead:
    """A process that has died."""

    returncode = -11

    def poll(self):
        return self.returncode

    def wait(self, _timeout=None):
        return self.returncode


def hopeless(monkeypatch, starts):
    monkeypatch.setattr(module.time, "sleep", lambda _s: None)
    said = []
    made = Supervisor(ServerConfig(dashboard=None, record=None), say=said.append)

    def start(*history):
        starts.append(history)
        made._acquire = Dead()

    made._start_acquire = start
    made._acquire = Dead()
    return made, said


def test_a_receiver_that_dies_again_and_again_is_given_up(monkeypatch):
    starts = []
    made, said = hopeless(monkeypatch, starts)
    assert made.watch() == ExitCode.FAILED
    assert [history[0] for history in starts] == [str(n + 1) for n in range(MOST_RESTARTS)]
    assert "giving up" in said[-2]
    assert said[-1].startswith("ACQUISITION ENDED with signal SIGSEGV")


def test_a_receiver_that_does_not_start_again_is_given_up_with_its_reason(monkeypatch):
    made, said = hopeless(monkeypatch, [])

    def start(*_history):
        raise PtyliveError("address in use")

    made._start_acquire = start
    assert made.watch() == ExitCode.FAILED
    assert "address in use" in said[-2]
