"""Batches through whole processes: simulated scans, two of which are damaged, kills, and a cluster."""

import csv
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

pytestmark = [pytest.mark.slow]
QUICK = ("num_slices=1", "probe_modes=1", "window_px=32", "scan_defocus=false", "refine_drift=false")
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Three scans, one truncated file, and one file that is not a scan."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(3):
        wanted = SimulationSettings.of({"scan_shape": (12, 12), "seed": number})
        simulate_file(folder / f"s{number}.h5", wanted, overwrite=False)
    (folder / "cut.h5").write_bytes((folder / "s0.h5").read_bytes()[:50000])
    (folder / "noise.h5").write_bytes(random.Random(1).randbytes(5000))
    return folder


def batch(scans, out, *options, epochs=8):
    return ptylive("batch", str(scans / "*.h5"), "-o", out, *SETTINGS, "--set", f"epoch_max={epochs}", *options)


def rows(out):
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        return {row["scan"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def objects(out):
    found = {}
    for path in sorted(out.glob("*_results.h5")):
        with h5py.File(path) as file:
            found[path.name] = file["refinement/object"][()]
    return found


def same(found, known):
    """Freshly compiled code and the same code from the cache may round differently: by a few steps of single precision,
    which eight epochs do not amplify."""
    np.testing.assert_allclose(found, known, rtol=0, atol=1e-5 * np.abs(known - 1).max())


def refinements_of(pid):
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if "refine_process" in " ".join(one.cmdline()):
                found.append(one)
    return found


@pytest.fixture(scope="module")
def here(scans, tmp_path_factory):
    """All scans, refined on this machine."""
    out = tmp_path_factory.mktemp("here") / "out"
    return batch(scans, out, "--workers", "2"), out


def test_what_can_be_done_is_done_and_the_damaged_say_why(scans, here):
    done, out = here
    assert done.returncode == 3, done.stderr
    found = rows(out)
    assert {name: row["state"] for name, row in found.items()} == {
        "cut.h5": "failed", "noise.h5": "failed", "s0.h5": "done", "s1.h5": "done", "s2.h5": "done",
    }  # fmt: skip
    assert "cut.h5 is damaged, cut short" in found["cut.h5"]["reason"]
    assert "is not an HDF5 file" in found["noise.h5"]["reason"]
    assert all(float(found[f"s{n}.h5"]["loss"]) > 0 and found[f"s{n}.h5"]["information_limit_A"] for n in range(3))
    assert len(list((out / "thumbnails").glob("*.png"))) == 6
    assert list(out.glob("*.checkpoint*")) == []


def test_a_second_call_does_nothing(scans, here):
    _, out = here
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".h5", ".png")}
    assert batch(scans, out, "--workers", "2").returncode == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_cluster_ends_where_this_machine_does(scans, here, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    done = batch(scans, tmp_path / "out", "--cluster", "local:2")
    assert done.returncode == 3, done.stderr
    there, known = objects(tmp_path / "out"), objects(here[1])
    assert list(there) == list(known)
    for name, found in there.items():
        same(found, known[name])


@pytest.mark.parametrize("where", [("--workers", "2"), ("--cluster", "local:2")], ids=["here", "cluster"])
def test_a_killed_batch_leaves_no_process_and_the_same_command_goes_on(scans, here, tmp_path, where):
    if "--cluster" in where:
        pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    out = tmp_path / "out"
    settings = [*SETTINGS, "--set", "epoch_max=8", *where]
    command = [PTYLIVE, "batch", str(scans / "s*.h5"), "-o", str(out), *settings]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    while not (found := refinements_of(running.pid)):
        assert running.poll() is None
        time.sleep(0.1)
    time.sleep(random.Random(seed).uniform(0, 10))
    family = [*found, *psutil.Process(running.pid).children(recursive=True)]
    running.kill()
    running.wait(60)
    _gone, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, alive
    done = ptylive(*command[1:])
    assert done.returncode == 0, done.stderr
    for name, array in objects(out).items():
        same(array, objects(here[1])[name])
    assert all(list(h5py.File(path)["refinements"]) == ["run1"] for path in out.glob("*_results.h5"))


def test_a_killed_worker_costs_no_scan(scans, here, tmp_path):
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    out = tmp_path / "out"
    command = [PTYLIVE, "batch", str(scans / "s*.h5"), "-o", str(out), *SETTINGS, "--set", "epoch_max=8"]
    running = subprocess.Popen([*command, "--cluster", "local:2"], stderr=subprocess.PIPE, text=True)
    for _ in range(2):
        while running.poll() is None and not (found := refinements_of(running.pid)):
            time.sleep(0.1)
        if running.poll() is None:
            os.kill(found[0].parent().pid, signal.SIGKILL)
            found[0].wait(60)
    assert running.wait(400) == 0, running.stderr.read()
    running.stderr.close()
    for name, array in objects(out).items():
        same(array, objects(here[1])[name])
