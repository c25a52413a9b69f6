"""Data sets for the refinement: one simulated here from first principles, the others read from the shared files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.run.refinement import Refinement
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.model import DoubleArray
from ptylive.schema.scan import Scan, rotation_matrix
from ptylive.schema.units import wavelength_A

ENERGY_EV, SEMIANGLE_MRAD, DEFOCUS_A = 80e3, 25.0, 60.0
PIXELS, PIXEL_INVA, CENTRE = 24, 0.1, (12.25, 11.6)
ROTATION_DEG, STEP_A, POINTS = 25.0, 0.8, 12
DRIFT_A = (0.6, -0.4)


@dataclass(frozen=True)
class Specimen:
    """Gaussian atoms: phase (rad) at any place, in the frame of the positions."""

    atoms: DoubleArray

    def phase(self, row_A: DoubleArray, col_A: DoubleArray) -> DoubleArray:
        away = (row_A[..., None] - self.atoms[:, 0]) ** 2 + (col_A[..., None] - self.atoms[:, 1]) ** 2
        return 0.4 * np.exp(-away / (2 * 0.5**2)).sum(-1)

    def phase_on(self, rows_A: DoubleArray, cols_A: DoubleArray) -> DoubleArray:
        """The same on a grid, from the profile of each atom along rows and columns: much faster."""
        row, col = (
            np.exp(-((at[:, None] - self.atoms[:, axis]) ** 2) / (2 * 0.5**2))
            for axis, at in enumerate((rows_A, cols_A))
        )
        return 0.4 * row @ col.T


@dataclass(frozen=True)
class Simulated:
    """A data set and the specimen it was made from."""

    dataset: Dataset
    specimen: Specimen


def given(**values: object) -> Calibration:
    return Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})


@pytest.fixture(autouse=True)
def deviations_on_request(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deviation of the phase takes as long as a dozen epochs: in quick tests measured if a preset names it."""
    measured = Refinement._phase_deviation

    def if_named(self: Refinement, state: Any) -> PhaseDeviation | None:
        return measured(self, state) if "phase_deviation" in self._preset.object.model_fields_set else None

    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(Refinement, "_phase_deviation", if_named)


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    """One thin slice, coherent probe, 4000 counts a pattern."""
    return simulated_scan(POINTS, seed=3)


@pytest.fixture(scope="session")
def small() -> Simulated:
    """Like ``simulated`` with only 64 patterns, for tests that compare two computations without finding the object."""
    return simulated_scan(8, seed=3)


@pytest.fixture(scope="session")
def drifted() -> Callable[..., Dataset]:
    """Make a larger scan that has drifted by ``drift_A`` (slow, fast), under nominal positions."""
    return lambda drift_A, seed, wander_px=0.0: (
        simulated_scan(20, seed=seed, drift_A=drift_A, wander_px=wander_px).dataset
    )


@pytest.fixture(scope="session")
def moving() -> Simulated:
    """The scan of ``simulated``, larger and drifted by ``DRIFT_A``, under nominal positions."""
    return simulated_scan(16, seed=3, drift_A=DRIFT_A)


@pytest.fixture(scope="session")
def wandering() -> Callable[[float], Simulated]:
    """Make the scan of ``simulated`` with each pattern displaced by up to ``reach_px``; none is moved back."""
    return lambda reach_px: simulated_scan(POINTS, seed=3, wander_px=reach_px)


@cache
def simulated_scan(
    points: int, *, seed: int, drift_A: tuple[float, float] = (0.0, 0.0), wander_px: float = 0.0
) -> Simulated:
    """Every wave is summed directly, without an FFT; five atoms per line, and noise from ``seed``."""
    rng = np.random.default_rng(seed)
    scan = Scan(shape=(points, points), step_A=STEP_A, rotation_deg=ROTATION_DEG)
    positions = scan.positions_A(ROTATION_DEG)
    low, high = positions.min(0) - 3, positions.max(0) + 3
    specimen = Specimen(rng.uniform(low, high, (5 * points, 2)))
    k_row = (np.arange(PIXELS) - CENTRE[0])[:, None] * PIXEL_INVA
    k_col = (np.arange(PIXELS) - CENTRE[1])[None, :] * PIXEL_INVA
    wavelength = wavelength_A(ENERGY_EV)
    radius = np.hypot(k_row, k_col)
    aperture = np.clip((SEMIANGLE_MRAD * 1e-3 / wavelength - radius) / PIXEL_INVA + 0.5, 0, 1)
    wave_k = aperture * np.exp(1j * np.pi * wavelength * DEFOCUS_A * radius**2)  # chi = -pi lam df k^2, exp(-i chi)
    x = (np.arange(PIXELS) - PIXELS // 2) / (PIXELS * PIXEL_INVA)
    to_row, to_col = np.exp(2j * np.pi * k_row.ravel()[:, None] * x), np.exp(2j * np.pi * k_col.ravel()[:, None] * x)
    probe = to_row.T @ wave_k @ to_col
    patterns = np.empty((len(positions), PIXELS, PIXELS))
    offsets = np.random.default_rng(4).uniform(-wander_px, wander_px, (len(positions), 2))
    turns = np.exp(
        2j * np.pi * PIXEL_INVA * offsets[:, :, None] * x
    )  # of the exit wave: the content at k moves to k + offset
    time = (np.arange(len(positions)) + 0.5) / len(positions) - 0.5
    for n, (row, col) in enumerate(positions + np.outer(time, rotation_matrix(ROTATION_DEG) @ drift_A)):
        transmission = np.exp(1j * specimen.phase_on(row + x, col + x))
        turn = turns[n, 0, :, None] * turns[n, 1]
        patterns[n] = np.abs(to_row.conj() @ (probe * transmission * turn) @ to_col.conj().T) ** 2
    patterns *= 4000 / patterns.sum((1, 2)).mean()
    counts = rng.poisson(patterns).astype(np.uint16)
    counts[:, 3, 5] = 65535
    bad = np.zeros((PIXELS, PIXELS), bool)
    bad[3, 5] = True
    calibration = given(
        energy_eV=ENERGY_EV,
        convergence_semiangle_mrad=SEMIANGLE_MRAD,
        detector_pixel_invA=PIXEL_INVA,
        C10=-DEFOCUS_A,
        rotation_deg=ROTATION_DEG,
        beam_center_px=CENTRE,
    )
    point = np.arange(len(positions))
    centre = np.asarray(CENTRE)
    return Simulated(
        Dataset(
            counts,
            point,
            positions,
            bad,
            centre,
            (points, points),
            calibration,
            offsets_px=offsets if wander_px else None,
        ),
        specimen,
    )


@pytest.fixture(scope="session")
def read_dataset() -> Callable[[Path], Dataset]:
    """Read a data set of the native layout (shared data: no flyback, no transform); its metadata is the calibration."""
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("hdf5plugin")

    def read(path: Path) -> Dataset:
        with h5py.File(path) as file:
            frames, values = file["data"][()], dict(file["metadata"].attrs)
        shape, count = frames.shape[:2], frames.shape[0] * frames.shape[1]
        rotation = float(values["rotation_deg"])
        scan = Scan(shape=shape, step_A=values["scan_step_A"], pattern=values["scan_pattern"], rotation_deg=rotation)
        names = ("energy_eV", "convergence_semiangle_mrad", "detector_pixel_invA", "rotation_deg")
        point = scan.point_of(np.arange(count))
        return Dataset(
            patterns=frames.reshape(count, *frames.shape[2:]),
            point=point,
            positions_A=scan.positions_A(rotation)[point],
            bad_pixels=np.zeros(frames.shape[2:], bool),
            beam_center_px=np.asarray(values["beam_center_px"], float),
            scan_shape=shape,
            calibration=given(
                C10=-float(values["defocus_A"]),
                detector_transform=str(values["detector_transform"]),
                beam_center_px=tuple(float(v) for v in values["beam_center_px"]),
                **{name: float(values[name]) for name in names},
            ),
        )

    return read
