"""A scheduler and a worker killed midway: the refinement goes on here as if nothing had happened."""

import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from dask_processes import dask
from running import ptylive

from ptylive.simulators.data import bundled

pytest.importorskip("distributed", reason="needs the extra 'cluster'")
QUICK = ("--set", "epoch_max=30", "--set", "sweeps=1", "--set", "probe_modes=1", "--set", "num_slices=1")
LONGEST_S = 300.0


def refined(output: Path, *more: str) -> list[str]:
    """The refine command of these tests."""
    scan = str(bundled("mos2_svac_80kV_focus"))
    return ["refine", scan, "-o", str(output), "--json", "--backend", "cpu", *QUICK, *more]


def stored(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["refinements/run1/object"][()]


@pytest.mark.slow
def test_it_goes_on_here_from_its_checkpoint_with_the_same_numbers(tmp_path: Path) -> None:
    (tmp_path / "dask").mkdir()
    with dask(tmp_path / "dask") as cluster:
        where = ("--cluster", cluster.address, "--when-cluster-missing", "here")
        command = [sys.executable, "-m", "ptylive.server.cli.main", *refined(tmp_path / "a.h5", *where)]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + LONGEST_S
        while not (tmp_path / "a.checkpoint").exists() and time.monotonic() < deadline:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.1)
        cluster.kill()
        said, errors = running.communicate(timeout=LONGEST_S)
    assert running.returncode == 0, errors
    assert json.loads(said.splitlines()[-1])["place"].startswith("on this machine: the Dask scheduler on")
    assert ptylive(*refined(tmp_path / "b.h5")).returncode == 0
    np.testing.assert_array_equal(stored(tmp_path / "a.h5"), stored(tmp_path / "b.h5"))


@pytest.mark.slow
def test_one_that_was_never_there_is_a_line_or_this_machine(tmp_path: Path) -> None:
    nobody = ("--cluster", "tcp://127.0.0.1:1", "--set", "epoch_max=2")
    refused = ptylive(*refined(tmp_path / "a.h5", *nobody))
    assert refused.returncode == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in refused.stderr.splitlines()[-1]
    assert ptylive(*refined(tmp_path / "a.h5", *nobody, "--when-cluster-missing", "here")).returncode == 0
    assert stored(tmp_path / "a.h5").ndim == 4
