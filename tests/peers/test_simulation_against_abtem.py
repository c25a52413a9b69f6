"""Patterns of a few atoms against abTEM's multislice, in an environment of its own: the same atoms, potentials of the
same published table, probe, slices and band limit; nothing is shared but the numbers given to both.

PTYLIVE_ABTEM_PYTHON may name an interpreter that has abTEM; otherwise it is installed.
"""

import json
import subprocess

import numpy as np
import pytest

from ptylive.engine.simulation import specimen
from ptylive.engine.simulation.atoms import Atoms
from ptylive.engine.simulation.object_grid import MARGIN_PX, Window
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.schema.simulation.settings import SimulationSettings

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
SETTINGS = {
    "energy_eV": 200e3,
    "convergence_semiangle_mrad": 22.0,
    "defocus_A": 60.0,
    "astigmatism_A": 25.0,
    "astigmatism_deg": 30.0,
    "Cs_A": 2e5,
    "C21a": 400.0,
    "detector_shape": (64, 64),
    "detector_pixel_mrad": 1.6,
    "scan_shape": (2, 2),
    "scan_step_A": 0.7,
    "slice_thickness_A": 2.0,
    "poisson": False,
    "dtype": "f4",
}
ABTEM = """
import json, sys
import abtem, ase, numpy as np
told = json.load(open(sys.argv[1]))
abtem.config.set({"precision": "float64", "device": "cpu", "diagnostics.progress_bar": False})
box = ase.Atoms(told["symbols"], told["places"], cell=[told["side"], told["side"], told["height"]], pbc=True)
potential = abtem.Potential(
    box, gpts=told["size"], slice_thickness=told["slice"] * (1 + 1e-9), parametrization="lobato", projection="infinite"
).build(lazy=False)
probe = abtem.Probe(
    energy=told["energy"], semiangle_cutoff=told["semiangle"], extent=told["side"], gpts=told["size"], soft=True,
    aberrations=told["aberrations"],
)
scan = abtem.CustomScan(np.asarray(told["at"]))
made = probe.scan(potential, scan=scan, detectors=abtem.PixelatedDetector(max_angle=None), lazy=False)
np.savez(sys.argv[2], patterns=np.asarray(made.array), slices=len(potential.slice_thickness))
"""
POLAR = {"C10": -60.0, "C12": 25.0, "phi12": np.deg2rad(30.0), "C21": 400.0, "phi21": 0.0, "C30": 2e5}


def both(python, folder, monkeypatch, settings, places, height):
    """Our patterns (4, n, n) and abTEM's on the pixels of the detector, with unit sum before the specimen."""
    wanted = SimulationSettings.of(settings)
    monkeypatch.setattr(specimen, "_atoms", lambda asked, grid, rng: (Atoms(np.asarray(SYMBOLS), places), height))
    monkeypatch.setattr(specimen, "MARGIN_A", 0.0)
    scan = SimulatedScan.of(wanted, folder / "unused.h5")
    ours = scan._intensities(np.arange(4))
    corners, _ = scan.grid.placed(scan.trajectory.positions_A, scan.window)
    # abTEM's box is our window around the first position; the others lie within a pixel or two of its middle
    corner = corners[0] * scan.grid.pixel_A
    at = scan.trajectory.positions_A - np.asarray(scan.grid.origin_A) - corner
    told = {
        "symbols": SYMBOLS, "places": (places - [*corner, 0.0]).tolist(), "side": scan.window.side_A,
        "height": height, "size": scan.window.size, "slice": 2.0, "energy": 200e3, "semiangle": 22.0,
        "aberrations": POLAR, "at": at.tolist(),
    }  # fmt: skip
    (folder / "told.json").write_text(json.dumps(told))
    (folder / "run.py").write_text(ABTEM)
    out = folder / "out.npz"
    command = [python, folder / "run.py", folder / "told.json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as made:
        theirs = made["patterns"]
    seen = slice(scan.window.size // 2 - 31, scan.window.size // 2 + 32)  # within the detector
    return np.fft.fftshift(ours, axes=(1, 2))[:, seen, seen], theirs[:, seen, seen]


def largest_difference(python, folder, monkeypatch, reach):
    """Largest difference for six atoms in three slices, relative to the largest intensity."""
    settings = {**SETTINGS, "reach": reach}
    window = Window.of(SimulationSettings.of(settings))
    middle = (window.size // 2 + MARGIN_PX) * window.pixel_A
    # places on pixels of both grids, since abTEM distributes atoms between pixels over the neighbouring ones
    offsets = np.array([[0, 0], [17, 8], [-12, 22], [6, -16], [-20, -10], [24, 24]]) * SETTINGS_PIXEL_A
    depths = (np.arange(6) % 3) * 2.0 + 1.0
    places = np.concatenate([middle + offsets, depths[:, None]], axis=1)
    ours, theirs = both(python, folder, monkeypatch, settings, places, 6.0)
    return np.abs(ours - theirs).max() / theirs.max()


SYMBOLS = ["Au", "Mo", "S", "O", "C", "Sr"]
SETTINGS_PIXEL_A = Window.of(SimulationSettings.of(SETTINGS)).pixel_A


def test_patterns_of_a_few_atoms_are_those_of_abtem(abtem_python, tmp_path, monkeypatch):
    """abTEM divides potentials by a sinc of the pixel, ours are exact: both agree as the pixel becomes small.

    Measured: 1.7e-3, 5.9e-4 and 1.3e-4 of the largest intensity at a reach of 2, 4 and 8.
    """
    coarse = largest_difference(abtem_python, tmp_path, monkeypatch, 2.0)
    fine = largest_difference(abtem_python, tmp_path, monkeypatch, 4.0)
    assert coarse < 2e-3
    assert fine < 7e-4
    assert fine < coarse / 2
