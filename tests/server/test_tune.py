"""Tuning through whole processes: a simulated scan, Ctrl-C, kills, a cluster, and damaged files."""

import json
import random
import signal
import subprocess
import time
from contextlib import suppress

import psutil
import pytest
from running import PTYLIVE, ptylive

from ptylive.application.simulation import simulate_file
from ptylive.schema.simulation.settings import SimulationSettings

pytest.importorskip("optuna", reason="needs the extra 'tune'")
pytestmark = [pytest.mark.slow]
TRUE_A, WRONG_A = 100.0, 60.0
QUICK = (
    "--over", "defocus", "--set", f"defocus_A={WRONG_A}", "--set", "num_slices=1", "--set", "probe_modes=1",
    "--set", "window_px=32", "--patterns", "144", "--sweeps", "4", "--backend", "cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "s.h5"
    simulate_file(
        path, SimulationSettings.of({"scan_shape": (12, 12), "defocus_A": TRUE_A, "seed": 5}), overwrite=False
    )
    return path


def command(scan, out, trials, *options):
    return [PTYLIVE, "tune", str(scan), *QUICK, "--trials", str(trials), "-o", str(out), "--json", *options]


def tuned(scan, out, trials, *options):
    done = ptylive(*command(scan, out, trials, *options)[1:])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def ended_in(out):
    """Finished trials of a journal, by number, with the text in which they were kept."""
    if not (out / "trials.journal").exists():
        return {}
    found = {}
    for line in (out / "trials.journal").read_text().splitlines():
        with suppress(ValueError):  # the last one may be incomplete
            said = json.loads(line)
            if "state" in (said.get("user_attr") or {}):
                found[said["trial_id"]] = said["user_attr"]["state"]
    return found


def table_of(out):
    return (out / "trials.csv").read_text().splitlines()


@pytest.mark.parametrize("where", [("--workers", "2"), ("--cluster", "local:2")], ids=["here", "cluster"])
def test_a_start_40_per_cent_wrong_is_found(scan, tmp_path, where):
    if "--cluster" in where:
        pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    said = tuned(scan, tmp_path / "out", 20, *where)
    found = said["estimates"]["defocus_A"]
    assert found["told"] and abs(found["best"] - TRUE_A) < 3 * found["deviation"]
    assert found["deviation"] < 20  # half of the initial error
    assert any("predict better than the start" in line for line in said["sentences"])
    assert (tmp_path / "out" / "tune.html").stat().st_size > 10_000
    refined = ptylive("refine", str(scan), "-o", str(tmp_path / "r.h5"), "--preset", said["preset"], "--epochs", "2")
    assert refined.returncode == 0, refined.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_taken_up_again_it_loses_no_trial(scan, tmp_path, how):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    out, rng = tmp_path / "out", random.Random(seed)
    trials = 16
    for more in (3, 4):
        least = len(ended_in(out)) + more
        running = subprocess.Popen(
            command(scan, out, trials, "--workers", "2"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        while len(ended_in(out)) < least and running.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.5))
        family = psutil.Process(running.pid).children(recursive=True) if running.poll() is None else []
        running.send_signal(how)
        assert running.wait(60) in ((130, 0) if how is signal.SIGINT else (-9, 0))
        _gone, alive = psutil.wait_procs(family, timeout=60)
        assert not alive, alive
        before = ended_in(out)
        assert len(before) >= min(least, trials)
    said = tuned(scan, out, trials)
    assert said["trials"] == trials
    after = ended_in(out)
    assert {number: after[number] for number in before} == before
    kept = {line.partition(",")[0] for line in table_of(out)[1:]}
    assert {str(number) for number in before} <= kept and len(kept) == trials


@pytest.mark.parametrize("bad", ["cut", "noise"])
def test_a_damaged_scan_is_one_line(scan, tmp_path, bad):
    path = tmp_path / f"{bad}.h5"
    path.write_bytes(scan.read_bytes()[:50000] if bad == "cut" else random.Random(1).randbytes(5000))
    done = ptylive(*command(path, tmp_path / "out", 5)[1:])
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("ptylive: ") and f"{bad}.h5" in line
    assert done.stdout == ""
