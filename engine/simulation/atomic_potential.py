"""Potentials of isolated atoms projected along the beam (Lobato and Van Dyck, Acta Cryst. A70 (2014) 636).

The projected potential of an atom is the two-dimensional Fourier transform of its electron scattering factor, V(r) =
h^2 / (2 pi m e) int f(g) exp(2 pi i g r) d2g, and it shifts the phase of an electron by sigma V. Atoms are summed in
Fourier space at their exact positions: no atom is moved to a pixel, and nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft

from ptylive.engine.simulation.atoms import Atoms
from ptylive.engine.simulation.object_grid import ObjectGrid
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.units import interaction_rad_per_VA

SCATTERING_VA2 = 47.87800
"""h^2 / (2 pi m e) in V Å²."""
WORK_NUMBERS = 2**21
"""Complex numbers per matrix product."""


def check_known(symbols: set[str]) -> None:
    """Raise MetadataError for a symbol without scattering factor."""
    unknown = sorted(symbols - set(_coefficients()))
    if unknown:
        raise MetadataError(f"there is no element {unknown[0]!r} in the table of potentials", "use H to Lr")


def scattering_factor_A(symbol: str, g2: DoubleArray) -> DoubleArray:
    """F(g) in Å for squares of the frequency in 1/Å². Raises KeyError for an unknown element."""
    a, b = _coefficients()[symbol][:, :, None]
    flat = np.ravel(g2)
    return np.asarray((a * (2 + b * flat) / (1 + b * flat) ** 2).sum(axis=0)).reshape(np.shape(g2))


def layer_phase(atoms: Atoms, grid: ObjectGrid, energy_eV: float) -> FloatArray:
    """Phase (rows, cols), rad, of all atoms projected along the beam; places relative to pixel (0, 0), periodic."""
    rows, cols = grid.frequencies()
    g2 = rows[:, None] ** 2 + cols[None, :] ** 2
    total = np.zeros(g2.shape, np.complex64)
    for symbol in sorted(set(atoms.symbols.tolist())):
        places = atoms.positions_A[atoms.symbols == symbol, :2]
        total += structure_factor(places, rows, cols) * scattering_factor_A(symbol, g2).astype(np.float32)
    factor = interaction_rad_per_VA(energy_eV) * SCATTERING_VA2 / grid.pixel_A**2
    return np.asarray(scipy.fft.irfft2(total, s=grid.shape) * np.float32(factor), dtype=np.float32)


def structure_factor(places_A: DoubleArray, rows: DoubleArray, cols: DoubleArray) -> FloatArray:
    """Sum over points (n, 2) of exp(-2 pi i g r) on the grid of frequencies (rows, cols), single precision."""
    total = np.zeros((len(rows), len(cols)), np.complex64)
    at_a_time = max(1, WORK_NUMBERS // (len(rows) + len(cols)))
    for start in range(0, len(places_A), at_a_time):
        part = places_A[start : start + at_a_time]
        along_rows = np.exp(-2j * np.pi * np.outer(rows, part[:, 0])).astype(np.complex64)
        along_cols = np.exp(-2j * np.pi * np.outer(part[:, 1], cols)).astype(np.complex64)
        total += along_rows @ along_cols
    return total  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _coefficients() -> Mapping[str, DoubleArray]:
    """Symbol -> (2, 5): a in Å, b in Å²."""
    lines = Path(__file__).with_name("lobato.csv").read_text(encoding="utf-8").splitlines()
    rows = [line.split(",") for line in lines if line and not line.startswith("#")]
    return {name: np.array([float(number) for number in numbers]).reshape(2, 5) for name, *numbers in rows}
