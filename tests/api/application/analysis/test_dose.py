"""Recordings one after the other, of which a map is made or not."""

import h5py
import numpy as np
import pytest

from ptylive.application.analysis.dose import added_up
from ptylive.application.simulation import simulate_file
from ptylive.schema.simulation.settings import SimulationSettings

SETTINGS = {
    "specimen": "bilayer",
    "scan_shape": (24, 24),
    "scan_step_A": (0.5, 0.5),
    "detector_shape": (24, 24),
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 20.0,
    "detector_pixel_mrad": 2.5,
    "dose_e_per_A2": 2e4,
    "reach": 1.0,
    "poisson": False,
    "dtype": "f4",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One specimen counted twice."""
    folder = tmp_path_factory.mktemp("dose")
    made = [folder / f"scan{number}.h5" for number in range(2)]
    for number, path in enumerate(made):
        simulate_file(path, SimulationSettings.of(SETTINGS))
        with h5py.File(path, "r+") as file:
            file["data"][...] = np.random.default_rng(number).poisson(np.maximum(file["data"][()], 0))
    return made


def test_each_recording_is_added_under_its_own_name(files):
    steps = list(added_up(files, {}))
    assert [step.path for step in steps] == files
    assert steps[1].curve.series == ("scan0", "scan1")
    assert steps[1].mean.settings["scans"] == 2
    assert steps[0].curve.measured[0].dose == pytest.approx(2e4, rel=0.1)  # a part of it misses the detector


def test_a_map_that_cannot_be_made_tells_its_reason(files, tmp_path):
    path = tmp_path / "untold.h5"
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["metadata"].attrs["energy_eV"]
    [step] = added_up([path], {})
    assert (step.curve, step.mean) == (None, None)
    assert "energy_eV" in step.problem
