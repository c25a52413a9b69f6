"""Aberrations of a refined probe, and the contrast transfer they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import ComplexArray, DoubleArray

ROUNDS = 20
FAINTEST = 0.1
"""Share of the largest amplitude below which the phase is not determined."""
LOWEST_ORDER = 3
"""Smallest choice of the highest order to be fitted, and its default."""


def krivanek_orders(order: int) -> dict[str, tuple[int, int]]:
    """Return name, radial order n and azimuthal symmetry m of every aberration up to an order: C10, C12, C21, …

    n + m is odd and m at most n + 1 (Krivanek, Dellby and Lupini, Ultramicroscopy 78 (1999) 1).
    """
    return {f"C{n}{m}": (n, m) for n in range(1, order + 1) for m in range((n + 1) % 2, n + 2, 2)}


def aberration_names(order: int) -> tuple[str, ...]:
    """Return the Cartesian coefficients up to an order; those up to third order first, as optics name them."""
    return tuple(
        name + part for name, (_, m) in krivanek_orders(order).items() for part in (("a", "b") if m else ("",))
    )


@dataclass(frozen=True)
class Aberration:
    """One aberration coefficient."""

    name: str
    value_A: float
    """Value of the probe."""
    given_A: float
    """Value of the calibration."""
    rim_rad: float
    """Its phase at the rim of the aperture."""


@dataclass(frozen=True)
class AberrationReport:
    """Decomposition of a probe's phase into aberrations."""

    coefficients: tuple[Aberration, ...]
    shift_A: tuple[float, float]
    """Offset of the probe's centre from pixel P // 2, row and column."""
    residual_rad: float
    """Weighted rms of the phase that no coefficient explains."""


def report(
    mode: ComplexArray,
    pixel_A: float,
    wavelength_A: float,
    semiangle_mrad: float,
    given: Mapping[str, float],
    order: int = LOWEST_ORDER,
) -> AberrationReport:
    """Fit Krivanek coefficients up to an order to the phase of a mode (P, P), real space, centred on P // 2.

    Gauss-Newton on sum |P| (arg(P / |P| exp(i chi)))^2 from the given coefficients; phases are compared as angles
    between waves, so no unwrapping is needed. Valid if the given coefficients are within a radian or two at the rim.
    """
    size = len(mode)
    wave = np.fft.fft2(np.fft.ifftshift(mode))
    k = np.fft.fftfreq(size, pixel_A)
    k_row, k_col = np.broadcast_arrays(k[:, None], k[None, :])
    weights = np.abs(wave) * (np.hypot(k_row, k_col) * wavelength_A * 1e3 <= 1.05 * semiangle_mrad)
    lit = weights > FAINTEST * weights.max()
    names = aberration_names(order)
    rates = np.stack([_chi(name, wavelength_A, k_row[lit], k_col[lit]) for name in names])
    design = np.vstack([rates, 2 * np.pi * k_row[lit], 2 * np.pi * k_col[lit], np.ones(int(lit.sum()))]).T
    solution = np.array([given.get(name, 0.0) for name in names] + [0.0, 0.0, 0.0])
    root = np.sqrt(weights[lit])
    solution[-1] = -np.angle((wave[lit] * np.exp(1j * (design @ solution))).sum())
    scale = np.maximum(np.abs(design).max(axis=0), 1e-12)  # with few pixels a coefficient may have no effect at all
    for _ in range(ROUNDS):
        residual = np.angle(wave[lit] * np.exp(1j * (design @ solution)))
        step = np.linalg.lstsq(design / scale * root[:, None], -residual * root, rcond=1e-6)[0] / scale
        solution = solution + step
    residual = np.angle(wave[lit] * np.exp(1j * (design @ solution)))
    residual_rms = float(np.sqrt((weights[lit] * residual**2).sum() / weights[lit].sum()))
    angle = semiangle_mrad * 1e-3
    coefficients = tuple(
        Aberration(name, float(value), float(given.get(name, 0.0)), _at_rim(name, float(value), wavelength_A, angle))
        for name, value in zip(names, solution[:-3], strict=True)
    )
    return AberrationReport(coefficients, (float(solution[-3]), float(solution[-2])), residual_rms)


def double_overlap_transfer(frequencies_invA: DoubleArray, semiangle_invA: float) -> DoubleArray:
    """Return the share of the aperture that transfers a phase at frequencies (n,): double without triple overlap.

    Ideal phase contrast of ptychography by direct methods, in focus (Yang et al. 2015): A(Q) - A_3(Q) with
    A(Q) = 2/pi (arccos x - x sqrt(1 - x^2)), x = Q / 2 alpha, and A_3 = A at twice the frequency; 0 beyond 2 alpha.
    """
    return np.maximum(_overlap(frequencies_invA, semiangle_invA) - _overlap(2 * frequencies_invA, semiangle_invA), 0)


def phase_contrast_transfer(
    frequencies_invA: DoubleArray, defocus_A: float, cs_A: float, wavelength_A: float
) -> DoubleArray:
    """Return sin chi (n,) of the coherent bright field at frequencies (n,); an underfocus is positive."""
    q = frequencies_invA
    chi = np.pi * wavelength_A * q**2 * (-defocus_A + 0.5 * cs_A * wavelength_A**2 * q**2)
    return np.asarray(np.sin(chi))


def _overlap(frequency: DoubleArray, semiangle_invA: float) -> DoubleArray:
    x = np.clip(frequency / (2 * semiangle_invA), 0, 1)
    return np.asarray(2 / np.pi * (np.arccos(x) - x * np.sqrt(1 - x**2)))


def _chi(name: str, wavelength_A: float, k_row: DoubleArray, k_col: DoubleArray) -> DoubleArray:
    """Phase of one Å of a coefficient, rad: 2 pi / lam (lam k)^(n+1) / (n+1) cos or sin of m theta, from +row."""
    n, m = int(name[1]), int(name[2])
    angular = (k_row + 1j * k_col) ** m
    part = angular.imag if name.endswith("b") else angular.real
    radial = (k_row**2 + k_col**2) ** ((n + 1 - m) // 2)
    return np.asarray(2 * np.pi * wavelength_A**n / (n + 1) * part * radial)


def _at_rim(name: str, value: float, wavelength_A: float, angle: float) -> float:
    n = int(name[1])
    return float(2 * np.pi / wavelength_A * value * angle ** (n + 1) / (n + 1))
