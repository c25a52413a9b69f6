"""Refinements of a running server while other clients save and configure without pause: every one of them is kept."""

import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from running import server

from ptylive.schema import Detector, Optics, Scan, ScanHeader
from ptylive.server.wire.client import ControlClient
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.recording.recording_writer import created_scan

RUNS, SIDE, PIXELS = 10, 12, 24
PRESET = {"window_px": 24, "probe_modes": 1, "sweeps": 1, "epoch_max": 1, "algorithm": "lsq_sqrt"}
"""A window without compiled code, so nothing is compiled."""


def tiny_scan(path: Path) -> Path:
    scan = Scan(shape=(SIDE, SIDE), step_A=0.8, rotation_deg=0.0)
    optics = Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0, defocus_A=60.0)
    detector = Detector(shape=(PIXELS, PIXELS), pixel_mrad=4.0, beam_center_px=(12.0, 12.0), transform="none")
    header = ScanHeader("tiny-1", "tiny", scan.frames, scan, optics, detector)
    rows, cols = np.indices((PIXELS, PIXELS)) - 12.0
    disc = np.where(np.hypot(rows, cols) < 6.2, 40.0, 0.3)
    frames = np.random.default_rng(5).poisson(disc, (header.frames, PIXELS, PIXELS)).astype(np.uint16)
    with created_scan(path, header) as writer:
        writer.add_frames(np.arange(header.frames), frames)
        writer.finish()
    return path


class Client(threading.Thread):
    """Sends one command without pause until it is told to stop."""

    def __init__(self, control: str, command: str, arguments) -> None:
        super().__init__(daemon=True)
        self._control, self._command, self._arguments = control, command, arguments
        self.stopping, self.problem, self.calls = threading.Event(), "", 0

    def run(self) -> None:
        try:
            with ControlClient(self._control, timeout_s=120.0) as client:
                while not self.stopping.is_set():
                    client.call(self._command, **self._arguments(self.calls))
                    self.calls += 1
        except Exception as error:
            self.problem = repr(error)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_refinements_beside_clients_that_save_and_configure(tmp_path):
    with server(tmp_path / "recordings") as running:
        replay(tiny_scan(tmp_path / "tiny.h5"), ReplaySettings(to=running.data, rate="max"))
        results = Path(running.wait_for_results(600)["results"])
        saving = Client(running.control, "save", lambda _: {})
        turning = Client(running.control, "configure", lambda n: {"values": {"defocus_A": 60.0 + n % 3}})
        saving.start()
        turning.start()
        with ControlClient(running.control, timeout_s=120.0) as client:
            for _ in range(RUNS):
                run = client.call("refine", preset=PRESET)["run"]
                running.wait_for(lambda s, run=run: ended(s, run), 600)
        for one in (saving, turning):
            one.stopping.set()
            one.join()
        assert (saving.problem, turning.problem) == ("", "")
        assert saving.calls > 0 and turning.calls > 0
        runs = running.call("runs")["runs"]
    assert sorted(runs, key=lambda name: int(name[3:])) == [f"run{n}" for n in range(1, RUNS + 1)]
    assert {run["state"] for run in runs.values()} == {"done"}
    with h5py.File(results) as file:
        assert sorted(file["refinements"]) == sorted(runs)
        assert all(np.isfinite(group["object"][()]).all() for group in file["refinements"].values())
    assert [p.name for p in results.parent.glob(".*")] == []
    assert list(results.parent.glob("*.pending")) == []


def ended(status: dict, run: str) -> bool:
    state = status["refinement"]["state"]
    assert state != "failed", status["refinement"]
    return status["refinement"]["run"] == run and state == "done"
