"""``ptylive dose`` as it is typed, on two counts of one simulated specimen, and on another one."""

import json

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from ptylive.schema import PtyliveError
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.server.cli.main import build

RUNNER = CliRunner()
SETTINGS = {
    "specimen": "gaussians",
    "scan_shape": (24, 24),
    "scan_step_A": (0.5, 0.5),
    "detector_shape": (24, 24),
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 20.0,
    "detector_pixel_mrad": 2.5,
    "dose_e_per_A2": 2e4,
    "reach": 1.0,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two counts of one specimen, one of another, and one of nothing."""
    from ptylive.application.simulation import simulate

    folder, made = tmp_path_factory.mktemp("dose"), []
    for number, more in enumerate(({"seed": 1}, {"seed": 1}, {"seed": 2}, {"seed": 3, "specimen": "vacuum"})):
        simulate(folder / f"scan{number}.h5", **{**SETTINGS, **more})
        made.append(folder / f"scan{number}.h5")
    with h5py.File(made[1], "r+") as file:  # counted once more
        name = "frames" if "frames" in file else "data"
        frames = np.asarray(file[name][()])
        drawn = np.random.default_rng(7).poisson(np.asarray(frames, dtype=float))
        file[name][...] = drawn.astype(frames.dtype)
    return made


def ran(*words, code=0):
    done = RUNNER.invoke(build(("dose",)), ["dose", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_table_and_a_sentence(files):
    lines = ran(files[0], files[2]).splitlines()
    assert lines[0].split() == "scans dose/Å² information limit, Å predicted from the first, Å".split()
    assert lines[1].startswith("1 ")
    assert "another place" in lines[-1]
