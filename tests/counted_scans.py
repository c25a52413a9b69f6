"""Scans of one specimen, simulated once and counted several times."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptylive.application.simulation import simulate_file
from ptylive.schema.simulation.settings import SimulationSettings

SETTINGS = {
    "specimen": "bilayer",
    "scan_step_A": (0.5, 0.5),
    "detector_shape": (24, 24),
    "energy_eV": 80e3,
    "convergence_semiangle_mrad": 20.0,
    "detector_pixel_mrad": 2.5,
    "reach": 1.0,
    "poisson": False,
    "dtype": "f4",
}


def counted(mean: Path, paths: list[Path], seed: int, **settings: Any) -> None:
    """Simulate a bilayer of MoS2 into ``mean``, and count it into each of ``paths``."""
    simulate_file(mean, SimulationSettings.of({**SETTINGS, **settings}))
    for number, path in enumerate(paths):
        shutil.copy(mean, path)
        with h5py.File(path, "r+") as file:
            file["data"][...] = np.random.default_rng([seed, number]).poisson(np.maximum(file["data"][()], 0))
