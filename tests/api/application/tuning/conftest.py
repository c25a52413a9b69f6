"""A scan of which only the metadata matter."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.application.tuning import estimates, plain_state
from ptylive.engine.dataset import Dataset
from ptylive.schema import Calibration, Origin, Quantity

ROWS = 4
GIVEN = {
    "energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "detector_pixel_invA": 0.1, "C10": -60.0,
    "rotation_deg": 25.0, "scan_step_A": (0.8, 0.8),
}  # fmt: skip


@pytest.fixture(autouse=True)
def fewer_points(request, monkeypatch):
    """Half as many points of a curve in quick tests: each of them is a minimum over all other values."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(estimates, "POINTS", 13)
        monkeypatch.setattr(plain_state, "POINTS", 21)


@pytest.fixture
def simulated():
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in GIVEN.items()})
    rows, columns = np.divmod(np.arange(2 * ROWS**2), 2 * ROWS)
    positions = 0.8 * np.stack([rows, columns], axis=1).astype(float)
    return SimpleNamespace(
        dataset=Dataset(
            patterns=np.zeros((2 * ROWS**2, 8, 8), np.uint16),
            point=np.arange(2 * ROWS**2),
            scan_shape=(ROWS, 2 * ROWS),
            positions_A=positions,
            calibration=calibration,
            bad_pixels=np.zeros((8, 8), bool),
            beam_center_px=np.array([4.0, 4.0]),
        )
    )
