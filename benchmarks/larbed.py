"""LARBED on crystals simulated by abTEM, which shares no code with ptylive: docs/larbed.md.

    python -m benchmarks.larbed [--cases sto-40 sto-20 shuffled faint stranger-0 …] [--abtem-python ABTEM/bin/python]

SrTiO3 [001] at 120 kV, 20 nm, 21 x 21 tilts to 20 and 40 mrad, 10^6 electrons per pattern; the same assigned to other
tilts; the same with 10^6 electrons for the whole series; and strangers, cells of random atoms at random energy and
thickness, all from a printed seed. Atoms are at rest; their potentials are blurred by a Debye-Waller factor. Without
abTEM the program reports this and ends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261123
TILTS = 21
Q_MAX_INVA = 1.8
"""Highest frequency of recorded reflections along each axis."""
BLUR_A = 0.08
"""Root mean square displacement along each axis."""
STRONGEST = 50
SLICE_A = 1.0
SYMBOLS = ("C", "O", "Al", "Si", "Ti", "Fe", "Ga", "As", "Sr", "Mo")


@dataclass(frozen=True)
class Case:
    """One crystal and its imaging conditions."""

    cell_A: tuple[float, float, float]
    symbols: tuple[str, ...]
    places: tuple[tuple[float, float, float], ...]
    """Fractional coordinates in the cell."""
    energy_eV: float
    cells: int
    """Number of cells along the beam."""
    tilt_mrad: float
    electrons: float
    shuffled: bool = False

    @property
    def thickness_A(self) -> float:
        """Thickness of the crystal."""
        return self.cells * self.cell_A[2]


STO = ("Sr", "Ti", "O", "O", "O"), ((0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))


def case_of(name: str, seed: int) -> Case:
    """A case by name: sto-20, sto-40, shuffled, faint, stranger-N."""
    kind, _, number = name.partition("-")
    if kind == "stranger":
        return stranger(np.random.default_rng([seed, int(number)]))
    tilt, electrons = (float(number) if kind == "sto" else 40.0), (1e6 / TILTS**2 if kind == "faint" else 1e6)
    return Case((3.905,) * 3, *STO, 120e3, 51, tilt, electrons, kind == "shuffled")


def stranger(rng: np.random.Generator) -> Case:
    """Random atoms in a random rectangular cell, no two closer than 1 Å in projection."""
    cell = (*rng.uniform(3.5, 5.5, 2), float(rng.uniform(3.0, 4.5)))
    places: list[Any] = []
    while len(places) < rng.integers(3, 6):
        place = rng.uniform(size=3)
        distances = [np.linalg.norm((((place - each) + 0.5) % 1 - 0.5)[:2] * cell[:2]) for each in places]
        if all(distance > 1.0 for distance in distances):
            places.append(place)
    symbols = tuple(str(each) for each in rng.choice(SYMBOLS, len(places)))
    energy = float(rng.choice([80e3, 120e3, 200e3, 300e3]))
    cells = int(rng.uniform(80, 250) / cell[2])
    return Case(cell, symbols, tuple(tuple(each) for each in places), energy, cells, 40.0, 1e6)  # type: ignore[arg-type]


def tilts_of(case: Case) -> Any:
    """Tilts (N, 2) in mrad."""
    along = np.linspace(-case.tilt_mrad, case.tilt_mrad, TILTS)
    return np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)


def simulate(case: Case, path: Path) -> None:
    """Write intensities (N, M), orders (M, 2), and the mean potential (Y, X) in volts. Requires only abTEM and ase."""
    import abtem
    from ase import Atoms

    abtem.config.set({"local_diagnostics.progress_bar": False, "diagnostics.progress_bar": False})
    atoms = Atoms("".join(case.symbols), scaled_positions=case.places, cell=case.cell_A, pbc=True)
    gpts = tuple(2 * int(np.ceil(8 * length)) for length in case.cell_A[:2])
    slices = max(1, round(case.cell_A[2] / SLICE_A))
    potential = abtem.Potential(
        atoms * (1, 1, case.cells),
        gpts=gpts,
        slice_thickness=case.cell_A[2] / slices,
        projection="infinite",
        parametrization="lobato",
    ).build(lazy=False)
    q = [np.fft.fftfreq(n, length / n) for n, length in zip(gpts, case.cell_A, strict=False)]
    blur = np.exp(-2 * (np.pi * BLUR_A) ** 2 * (q[0][:, None] ** 2 + q[1] ** 2))
    potential._array = np.fft.ifft2(np.fft.fft2(potential.array) * blur).real.astype(np.float32)  # noqa: SLF001  (abTEM has no other way)
    most = [int(Q_MAX_INVA * length) for length in case.cell_A[:2]]
    orders = np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij")
    hk, found = np.stack(orders, axis=-1).reshape(-1, 2), []
    for tilt in tilts_of(case):
        wave = abtem.PlaneWave(energy=case.energy_eV, tilt=(float(tilt[0]), float(tilt[1])))
        exit_wave = wave.multislice(potential, lazy=False)
        intensity = np.abs(np.fft.fft2(exit_wave.array)) ** 2
        found.append((intensity / intensity.sum())[hk[:, 0], hk[:, 1]])
    mean = potential.array.sum(axis=0) / case.thickness_A
    np.savez(path, intensity=np.array(found), hk=hk, mean_V=mean)


def judge(case: Case, path: Path, seed: int, starts: int) -> dict[str, Any]:
    """Invert a simulated series and compare the result with the simulated crystal."""
    from ptylive.engine.larbed.inversion import LarbedSettings, invert
    from ptylive.engine.larbed.larbed_file import potential_V
    from ptylive.engine.larbed.structure_factors import (
        best_correlation,
        coefficients,
        on_highest_column,
        potential_map,
        structure_factors,
    )
    from ptylive.engine.larbed.tilt_series import TiltSeries

    rng = np.random.default_rng(seed)
    with np.load(path) as file:
        counts = rng.poisson(file["intensity"] * case.electrons).astype(np.float32)
        hk, mean_V = file["hk"].astype(np.int64), file["mean_V"].astype(np.float64)
    cell = np.diag(case.cell_A[:2])
    series = TiltSeries(counts, hk, tilts_of(case), cell, case.energy_eV, case.electrons, (TILTS, TILTS))
    if case.shuffled:
        series = series.shuffled(rng)
    began, cpu = time.perf_counter(), time.process_time()
    found = invert(series, LarbedSettings(starts=starts, seed=seed))
    spent = time.perf_counter() - began, time.process_time() - cpu
    true = reduced(np.fft.fft2(mean_V) / mean_V.size, found.grid.pixels)
    our_V = on_highest_column(coefficients(found.crystal, case.energy_eV), found.grid)
    correlation = best_correlation(potential_V(found, 96), potential_map(true, 96))
    table = structure_factors(true, found.grid, case.energy_eV)
    strong = np.abs(table.V[:STRONGEST])
    found_V = np.abs(our_V[table.hk[:STRONGEST, 0], table.hk[:STRONGEST, 1]])
    return {
        "correlation": correlation,
        "R": float(np.abs(found_V - strong).sum() / strong.sum()),
        "thickness_A": found.crystal.thickness_A,
        "true_A": case.thickness_A,
        "explained": found.explained,
        "residual": float(np.median(found.residual)),
        "agreeing": f"{found.agreeing}/{len(found.starts)}",
        "wall_s": spent[0],
        "cpu_s": spent[1],
        "warning": found.warning(),
    }


def reduced(spectrum: Any, pixels: int) -> Any:
    """The orders that a grid of P x P pixels distinguishes, in its order; the mean is 0."""
    reach = (pixels - 1) // 2
    orders = np.arange(-reach, reach + 1)
    out = np.zeros((pixels, pixels), np.complex128)
    out[np.ix_(orders, orders)] = spectrum[np.ix_(orders, orders)]
    out[0, 0] = 0
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases", nargs="+", default=["sto-40", "sto-20", "shuffled", "faint", "stranger-0", "stranger-1"]
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--starts", type=int, default=8)
    parser.add_argument("--abtem-python", type=Path, default=Path(sys.executable), help="an interpreter that has abTEM")
    parser.add_argument("--cache", type=Path, help="folder for what is simulated")
    parser.add_argument("--simulate", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.simulate is not None:
        simulate(case_of(given.cases[0], given.seed), given.simulate)
        return
    if subprocess.run([given.abtem_python, "-c", "import abtem, ase"], capture_output=True, check=False).returncode:
        print(f"skipped: {given.abtem_python} has no abTEM (pip install abtem, or name another by --abtem-python)")
        return
    folder = given.cache or Path(tempfile.mkdtemp(prefix="larbed-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {given.seed}")
    for name in given.cases:
        case = case_of(name, given.seed)
        path = folder / f"{name.replace('shuffled', 'sto-40').replace('faint', 'sto-40')}-{given.seed}.npz"
        if not path.exists():
            command = [given.abtem_python, __file__, "--simulate", path, "--cases", name, "--seed", str(given.seed)]
            subprocess.run([str(word) for word in command], check=True, capture_output=True)
        print(name, case)
        print(name, judge(case, path, given.seed, given.starts), flush=True)


if __name__ == "__main__":
    main()
