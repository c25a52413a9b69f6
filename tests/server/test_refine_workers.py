"""One refinement on the workers of a cluster, through whole processes: same result, kills, no process left."""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress

import h5py
import numpy as np
import psutil
import pytest
from running import PTYLIVE, ptylive

from ptylive.application.simulation import simulate_file
from ptylive.schema.simulation.settings import SimulationSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
QUICK = ("num_slices=1", "probe_modes=2", "window_px=64", "scan_defocus=false", "refine_drift=false", "sweeps=20")
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]
EPOCHS = 120


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    path = tmp_path_factory.mktemp("scan") / "scan.h5"
    simulate_file(path, SimulationSettings.of({"scan_shape": (96, 96), "seed": 1}), overwrite=False)
    return path


@pytest.fixture(scope="module")
def alone(scan, tmp_path_factory):
    """The refinement on this machine."""
    out = tmp_path_factory.mktemp("alone") / "refined.h5"
    assert ptylive(*command(scan, out)[1:]).returncode == 0
    return out


def command(scan, out, *options):
    return [
        PTYLIVE,
        "refine",
        str(scan),
        "-o",
        str(out),
        *SETTINGS,
        "--epochs",
        str(EPOCHS),
        "--backend",
        "cpu",
        *options,
    ]


def same(out, known):
    """The same steps, with sums in single precision in another order, over these epochs."""
    with h5py.File(out) as found, h5py.File(known) as expected:
        a, b = (np.angle(file["refinement/object"][()]).ravel() for file in (found, expected))
        assert np.corrcoef(a, b)[0, 1] >= 0.9999
        losses = [file["refinement/loss"][()][-1] for file in (found, expected)]
    assert abs(losses[0] / losses[1] - 1) < 1e-3


def workers_of(pid):
    """Processes that have a tile: those of Dask's nannies."""
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(one.cmdline()):
                found.append(one)
    return found


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_end_where_this_machine_does(scan, alone, tmp_path, workers):
    out = tmp_path / "refined.h5"
    done = ptylive(*command(scan, out, "--cluster", f"local:{workers}", "--workers", str(workers), "--json")[1:])
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["state"], said["backend"]) == ("done", f"cpu, {workers} workers")
    same(out, alone)


def test_killed_workers_cost_no_more_than_time(scan, alone, tmp_path):
    out, seed = tmp_path / "refined.h5", random.randrange(2**32)
    print(f"seed {seed}")
    rng, kills = random.Random(seed), 0
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(command(scan, out, "--cluster", "local:2", "--workers", "2"), stderr=said)
        family = set()
        while running.poll() is None and kills < 3:
            time.sleep(rng.uniform(2, 8))
            found = workers_of(running.pid) if running.poll() is None else []
            family.update(found)
            if found and (tmp_path / "refined.loss.csv").exists():
                with suppress(psutil.Error):
                    os.kill(rng.choice(found).pid, signal.SIGKILL)
                    kills += 1
        assert running.wait(900) == 0, (tmp_path / "said").read_text()
    assert kills
    assert not psutil.wait_procs(list(family), timeout=60)[1]
    same(out, alone)


def test_a_killed_command_leaves_no_process_and_is_gone_on_with(scan, alone, tmp_path):
    out = tmp_path / "refined.h5"
    wanted = command(scan, out, "--cluster", "local:2", "--workers", "2")
    running = subprocess.Popen(wanted, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(tmp_path.glob("*.tiles")):
        assert running.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.1)
    family = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.wait(60)
    assert not psutil.wait_procs(family, timeout=60)[1]
    refused = ptylive(*command(scan, out, "--resume")[1:])
    assert "resume with --workers N" in refused.stderr
    done = ptylive(*wanted[1:], "--resume")
    assert done.returncode == 0, done.stderr
    same(out, alone)


def test_what_cannot_be_shared_is_refused_before_any_work(scan, tmp_path):
    refused = ptylive(
        *command(scan, tmp_path / "r.h5", "--cluster", "local:2", "--workers", "2", "--set", "opr_components=2")[1:]
    )
    assert refused.returncode == 1
    assert "several workers cannot share a refinement with opr_components" in refused.stderr
    refused = ptylive(*command(scan, tmp_path / "r.h5", "--workers", "2")[1:])
    assert "choose one, for example --cluster local:2" in refused.stderr
