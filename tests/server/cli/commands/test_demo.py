"""The demo, from its first line to its results file."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import psutil
import pytest
from running import PTYLIVE, ptylive_here
from scan_parts import part_of
from scripted_refinement import ENDED, Scripted, progress
from served_here import server_here

from ptylive.schema import PtyliveError
from ptylive.server.cli.commands import demo
from ptylive.server.cli.commands.demo import DATA_SET, Watchman
from ptylive.server.cli.output import Interrupted
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.refinement.refinements import Refinements
from ptylive.simulators import data

MAPS = {"bf", "adf", "com_row", "com_col", "idpc", "tcbf", "wdd_phase"}


SHORT = {"sweeps": 2, "epoch_max": 2, "num_slices": 1, "probe_modes": 1}
QUICK = f"""
import os
from functools import partial
from pathlib import Path
from ptylive.server.cli.commands import demo
from ptylive.server.cli.main import main
from ptylive.simulators import data

data.bundled = lambda name: Path(os.environ["A_PART_OF_THE_SCAN"])
demo.FRAMES_PER_S = 1024.0
demo.ServerConfig = partial(demo.ServerConfig, refine={SHORT})
main()
"""
"""The demo with a sixteenth of its scan, to save time, and a short refinement that tries neither depths nor modes."""
POINTS = 16


def test_the_demo_scans_maps_and_refines(tmp_path, monkeypatch):
    """With a server in threads of this process, a scripted refinement and no dashboard; the slow tests start all
    processes of the demo, and refine.
    """
    part = part_of(DATA_SET, POINTS, tmp_path / "part.h5")
    begun = []
    monkeypatch.setattr(Scripted, "started", [])
    monkeypatch.setattr(Scripted, "script", [progress(3), progress(9), ENDED])
    monkeypatch.setattr(Refinements, "prepare", lambda *_, **__: None)
    with server_here(tmp_path / "out", {"refine": SHORT}, {}) as running:
        running.session.refine.refinements._launch = Scripted

        def supervisor(config, **_options):
            begun.append(config)
            return SimpleNamespace(
                config=config, running=True, data_address=running.data, dashboard_url="http://127.0.0.1:1", logins={},
                start=lambda: None, stop=lambda: ExitCode.DONE,
            )  # fmt: skip

        for name, instead in (
            ("Supervisor", supervisor), ("free_addresses", lambda: (running.data, running.control)),
            ("stop_on_signals", lambda: None), ("FRAMES_PER_S", 1024.0),
        ):  # fmt: skip
            monkeypatch.setattr(demo, name, instead)
        monkeypatch.setattr(data, "bundled", {DATA_SET: part}.get)
        words = ("--no-browser", "--exit-when-done", "--port", "0", "--output", tmp_path / "out")
        done = ptylive_here("demo", *words)
    assert done.returncode == 0, done.stderr
    (config,) = begun
    assert (config.data, config.control, config.dashboard) == (running.data, running.control, "127.0.0.1:0")
    assert config.record == str(tmp_path / "out")
    results = check_maps(done.stdout, tmp_path / "out")
    (refined,) = Scripted.started
    assert (refined.job.results, refined.job.run) == (results, "run1")
    assert {name: refined.job.preset.value(name) for name in SHORT} == SHORT
    assert f"refined: loss 3.1 after 9 epochs; results in {results}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("program", [(sys.executable, "-c", QUICK), (PTYLIVE,)], ids=["quick", "whole"])
def test_demo_runs_to_its_end(tmp_path, program, monkeypatch):
    monkeypatch.setenv("A_PART_OF_THE_SCAN", str(part_of(DATA_SET, POINTS, tmp_path / "part.h5")))
    command = [*program, "demo", "--no-browser", "--exit-when-done", "--port", "0", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check_output(done.stdout, tmp_path)


def check_output(said, folder):
    with h5py.File(check_maps(said, folder)) as file:
        assert set(file["refinement"]) >= {"object", "probe", "positions_A", "loss"}
        assert file["refinement"].attrs["state"] == "done"


def check_maps(said, folder):
    """The results file, which has all maps."""
    assert said.startswith("http://127.0.0.1:")
    (results,) = folder.glob("*_results.h5")
    with h5py.File(results) as file:
        assert set(file["maps"]) >= MAPS
    return results


@pytest.mark.parametrize(
    ("output", "kept"), [("out", "out has what was recorded so far"), (None, "nothing is kept without --output")]
)
def test_ctrl_c_says_where_the_recording_is(output, kept, monkeypatch):
    def interrupted(_config, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "Supervisor", interrupted)
    monkeypatch.setattr(demo, "stop_on_signals", lambda: None)
    with pytest.raises(Interrupted) as said:
        demo.demo(port=0, no_browser=True, exit_when_done=True, output=output and Path(output))
    assert str(said.value) == kept


def test_a_server_that_ends_ends_the_demo():
    supervisor = SimpleNamespace(running=True)
    check = Watchman(supervisor, 60.0)
    check()
    supervisor.running = False
    with pytest.raises(PtyliveError, match="server ended before the demo"):
        check()
    with pytest.raises(PtyliveError, match="did not finish within 0 s"):
        Watchman(SimpleNamespace(running=True), 0.0)()


@pytest.mark.slow
@pytest.mark.parametrize("wait_for", ["scanning", "refining"])
def test_a_demo_whose_server_is_killed_says_so_and_fails(tmp_path, wait_for):
    command = [PTYLIVE, "demo", "--no-browser", "--exit-when-done", "--port", "0", "--output", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout.readline().startswith("http://")
            while wait_for == "refining" and not list(tmp_path.glob(".*.reserved")):
                assert demo.poll() is None
                time.sleep(0.1)
            time.sleep(1.0)
            children = psutil.Process(demo.pid).children()
            (acquire,) = [one for one in children if "ptylive.server.serve.acquire" in one.cmdline()]
            acquire.kill()
            _, said = demo.communicate(timeout=300)
        finally:
            demo.kill()
    assert demo.returncode == 1, said
    assert "server ended before the demo did" in said
