"""Structure factors of the refined potential, with the origin on its highest column.

The tilt series of a periodic specimen does not depend on where the cell begins, so the origin is free. Potentials are
means along the beam:

    V(r) = phase / (sigma d) = sum V_hk exp(2 pi i (h x + k y))     sigma: rad/(V Å), d: thickness of the slice
    U_hk = gamma 2 m0 e / h^2 V_hk                                  gamma = m / m0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.larbed.crystal import CrystalGrid
from ptylive.engine.larbed.objective import Crystal
from ptylive.schema.model import ComplexArray, DoubleArray, IndexArray
from ptylive.schema.units import ELECTRON_REST_ENERGY_EV as REST_EV
from ptylive.schema.units import interaction_rad_per_VA

U_PER_V = 0.0066484
"""2 m0 e / h^2, 1/(V Å^2)."""
FINE = 8
"""Points per pixel in the search for the origin."""


@dataclass(frozen=True, eq=False)
class StructureFactors:
    """One of each conjugate pair h k, -h -k; the mean potential, which changes no pattern, is left out."""

    hk: IndexArray
    """(K, 2) orders."""
    q_invA: DoubleArray
    """(K,)."""
    V: ComplexArray
    """(K,) V."""
    U_invA2: ComplexArray
    """(K,) 1/Å^2."""


def coefficients(crystal: Crystal, energy_eV: float) -> ComplexArray:
    """(P, P) V_hk in volts, zero first, the origin where the grid has it; the Nyquist row and column are 0."""
    size = len(crystal.phase)
    sigma_d = interaction_rad_per_VA(energy_eV) * crystal.thickness_A / crystal.slices
    found = np.fft.fft2(crystal.phase) / size**2 / sigma_d
    found[0, 0] = 0
    if size % 2 == 0:
        found[size // 2] = 0
        found[:, size // 2] = 0
    return np.asarray(found)


def potential_map(spectrum: ComplexArray, pixels: int) -> DoubleArray:
    """(pixels, pixels) volts over one cell, interpolated to more pixels than the spectrum (P, P) has."""
    size = len(spectrum)
    orders = np.arange(-((size - 1) // 2), (size - 1) // 2 + 1)
    fine = np.zeros((pixels, pixels), np.complex128)
    fine[np.ix_(orders % pixels, orders % pixels)] = spectrum[np.ix_(orders % size, orders % size)]
    return np.asarray(np.fft.ifft2(fine).real * pixels**2)


def on_highest_column(spectrum: ComplexArray, grid: CrystalGrid) -> ComplexArray:
    """Shift the origin of a spectrum (P, P) to the highest point of its map."""
    pixels = FINE * grid.pixels
    fine = potential_map(spectrum, pixels)
    row, col = np.unravel_index(int(fine.argmax()), fine.shape)
    h, k = np.meshgrid(grid.orders, grid.orders, indexing="ij")
    return np.asarray(spectrum * np.exp(2j * np.pi * (h * row + k * col) / pixels))


def best_correlation(first: DoubleArray, second: DoubleArray) -> float:
    """Highest correlation of two periodic maps (n, n) over all shifts by whole pixels: a cell's origin is free."""
    a, b = (np.fft.fft2(each - each.mean()) for each in (first, second))
    power = np.sqrt((np.abs(a) ** 2).sum() * (np.abs(b) ** 2).sum())
    return float(np.fft.ifft2(a * b.conj()).real.max() * a.size / max(power, 1e-300))


def structure_factors(spectrum: ComplexArray, grid: CrystalGrid, energy_eV: float) -> StructureFactors:
    """Structure factors of a spectrum (P, P) of the potential in V, strongest first."""
    h, k = np.meshgrid(grid.orders, grid.orders, indexing="ij")
    half = ((h > 0) | ((h == 0) & (k > 0))) & (np.maximum(np.abs(h), np.abs(k)) <= (grid.pixels - 1) // 2)
    order = np.argsort(-np.abs(spectrum[half]), kind="stable")
    V = spectrum[half][order]
    gamma = 1 + energy_eV / REST_EV
    hk = np.stack([h[half], k[half]], axis=1)[order]
    q = np.sqrt(grid.q_squared()[half][order])
    return StructureFactors(hk, q, V, gamma * U_PER_V * V)
