"""The scan for which other programs produced results (tests/fixtures/earlier), and how such a result is judged."""

import json
from pathlib import Path

import h5py
import numpy as np

import ptylive

FIXTURES = Path(__file__).parent / "fixtures" / "earlier"
ROWS, COLUMNS, STEP_A, ROTATION_DEG, PIXELS, PIXEL_MRAD = 9, 11, 0.8, -15.0, 32, 2.5
SEMIANGLE_MRAD, ENERGY_EV, DEFOCUS_A = 20.0, 200e3, 60.0

MADE = {
    "ptyrad.hdf5": ("PtyRAD", (1, 2), 2, (4.0, 4.0), 0.15, 0.85),
    "py4dstem.h5": ("py4DSTEM", (1, 2), 1, (4.0, 4.0), 1e-5, 0.75),
    "py4dstem_transposed.h5": ("py4DSTEM", (1, 1), 2, (), 1e-5, 0.7),
    "phaser.h5": ("phaser", (1, 1), 2, (), 1e-5, 0.75),
}
"""For each file: program, object modes and slices, probe modes, thickness of slices, allowed error of positions in Å
(PtyRAD refined its own), lowest likeness."""


def simulated(path: Path) -> Path:
    """Atoms under a defocused probe, with the scan rotated by -15 degrees; seed 1."""
    ptylive.simulate(
        path, specimen="atoms", convergence_semiangle_mrad=SEMIANGLE_MRAD, scan_shape=(ROWS, COLUMNS),
        scan_step_A=STEP_A, rotation_deg=ROTATION_DEG, dose_e_per_A2=1e5, energy_eV=ENERGY_EV, defocus_A=DEFOCUS_A,
        detector_shape=(PIXELS, PIXELS), detector_pixel_mrad=PIXEL_MRAD, tell="microscope", seed=1,
    )  # fmt: skip
    return path


def described() -> str:
    """The description passed to write_earlier_results.py."""
    names = ("ROWS", "COLUMNS", "STEP_A", "ROTATION_DEG", "PIXELS", "PIXEL_MRAD", "SEMIANGLE_MRAD", "ENERGY_EV")
    return json.dumps({name: globals()[name] for name in (*names, "DEFOCUS_A")})


def judge(path: Path, truth: "Truth") -> None:
    """Check object, positions and probe of a file against the simulation, whatever axes and origin its program has."""
    from ptylive.engine.earlier_results.formats import read_earlier

    program, modes, probe_modes, thickness, away, likeness = MADE[path.name]
    found = read_earlier(path)
    assert (found.program, found.object.shape[:2], found.probe.shape[:2]) == (program, modes, (1, probe_modes))
    np.testing.assert_allclose(found.slice_thickness_A, thickness, rtol=1e-6)
    assert abs(found.pixel_A / 0.31349 - 1) < 1e-4
    assert truth.away_A(found.positions_A) < away
    phase, places = np.angle(found.object.prod(axis=1).mean(axis=0)), (found.origin_A, found.positions_A)
    assert truth.likeness(phase, found.pixel_A, *places) > likeness
    for wrong in (phase.T, phase[::-1], phase[:, ::-1], -phase):
        assert truth.likeness(wrong, found.pixel_A, *places) < 0.4
    assert truth.overlap(found.probe[0, 0], found.pixel_A) > 0.95
    assert truth.overlap(found.probe[0, 0].conj(), found.pixel_A) < 0.3


class Truth:
    """The truth stored with the simulation."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path) as file:
            self.phase = file["truth/phase"][()]
            self.pixel_A = float(file["truth"].attrs["object_sampling_A"])
            self.positions_A = file["truth/positions_A"][()].reshape(-1, 2)
            self.probe = file["truth/probe"][()]
            self.probe_pixel_A = float(file["truth"].attrs["probe_sampling_A"])

    def away_A(self, positions_A: np.ndarray) -> float:
        """RMS distance of positions from the true ones, apart from a common offset."""
        away = positions_A - self.positions_A
        return float(np.sqrt(((away - away.mean(axis=0)) ** 2).sum(axis=1).mean()))

    def likeness(self, phase: np.ndarray, pixel_A: float, origin_A: tuple[float, float], at_A: np.ndarray) -> float:
        """Correlation of a phase with the true one over the scan, each located by its positions (``at_A`` for the
        phase).

        Only detail finer than 2 Å counts, since the solution is determined only up to a wedge of phase.
        """
        from scipy.ndimage import gaussian_filter, map_coordinates

        low, high = at_A.min(axis=0) + 1, at_A.max(axis=0) - 1
        places = np.stack(np.meshgrid(*(np.arange(low[k], high[k], 0.2) for k in (0, 1)), indexing="ij"))
        moved = (at_A.mean(axis=0) - self.positions_A.mean(axis=0))[:, None, None]
        theirs = map_coordinates(phase, (places - np.asarray(origin_A)[:, None, None]) / pixel_A, order=1)
        true = map_coordinates(self.phase, (places - moved) / self.pixel_A, order=1)
        fine = [(each - gaussian_filter(each, 5.0)).ravel() for each in (theirs, true)]
        return float(np.corrcoef(*fine)[0, 1])

    def overlap(self, probe: np.ndarray, pixel_A: float) -> float:
        """Overlap of a probe (P, P), centred on pixel P // 2, with the true one in the aperture; 1 for equal waves."""
        theirs, true = _aperture(probe, pixel_A), _aperture(self.probe, self.probe_pixel_A)
        lit = abs(true) > 0.3 * abs(true).max()
        a, b = theirs[lit], true[lit]
        return float(abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b))


def _aperture(probe: np.ndarray, pixel_A: float) -> np.ndarray:
    """A probe at frequencies up to 1 / Å, the same frequencies whatever its window."""
    at = (np.arange(len(probe)) - len(probe) // 2) * pixel_A
    wave = np.exp(-2j * np.pi * np.outer(np.linspace(-1, 1, 41), at))
    return wave @ probe @ wave.T
