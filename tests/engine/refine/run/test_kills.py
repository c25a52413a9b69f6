"""Kill -9 at random moments: the resumed run follows the trajectory of an undisturbed one."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("killed_refinement.py")


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder / "run.checkpoint"), str(folder / "result.npz")])


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 50])
@pytest.mark.timeout(900)
def test_killed_and_resumed_is_the_same_trajectory(tmp_path, kills):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert start(whole).wait(timeout=120) == 0
    rng, done = random.Random(1), 0
    for _ in range(20 * kills):
        process = start(broken)
        waiting_since = time.monotonic()
        before = stamp(broken)
        while process.poll() is None and stamp(broken) == before and time.monotonic() - waiting_since < 60:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        if done < kills and process.poll() is None:
            process.kill()
            process.wait()
            done += 1
            continue
        assert process.wait(timeout=120) == 0
        break
    assert done >= min(kills, 3)
    with np.load(whole / "result.npz") as expected, np.load(broken / "result.npz") as resumed:
        # the same arithmetic, in single precision
        np.testing.assert_allclose(resumed["loss"], expected["loss"], rtol=1e-6)
        np.testing.assert_allclose(resumed["object"], expected["object"], atol=1e-6)


def stamp(folder: Path) -> int:
    path = folder / "run.checkpoint"
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
