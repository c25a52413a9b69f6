"""The probe in the aperture plane: soft disc times exp(-i chi). Aberrations are defined here and nowhere else.

chi(k) = 2 pi/lam sum_nm C_nm (lam |k|)^(n+1)/(n+1) {cos, sin}(m theta), theta from +row towards +col (Krivanek;
same signs as abTEM). Up to third order chi is a polynomial in (k_row, k_col). It is kept as polynomial coefficients, so
that phase, gradient and compiled kernels all evaluate the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.polynomial import polynomial

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray
from ptylive.schema.optics import KRIVANEK_ORDERS

ComplexPlane = npt.NDArray[np.complex128]
LEAST_RADIUS_PX = 0.5
"""Radius below which the aperture is no longer a disc but a fraction of one pixel."""
POLYNOMIAL_SIZE = 5
"""chi contains at most fourth powers (C30, C32, C34)."""


@dataclass(frozen=True)
class Probe:
    """An aberrated, soft-edged aperture. Frequencies in 1/Å, lengths in Å."""

    wavelength_A: float
    semiangle_invA: float
    edge_invA: float
    """Width of the linear edge of the disc: one detector pixel (a hard edge aliases)."""
    chi_polynomial: DoubleArray
    """(5, 5): chi = sum c[i, j] k_row^i k_col^j, radians."""

    @classmethod
    def of(
        cls, wavelength_A: float, semiangle_mrad: float, edge_invA: float, aberrations: Mapping[str, float]
    ) -> Probe:
        """Return the probe of the given optics; ``aberrations`` are Krivanek Cartesian coefficients in Å."""
        coefficients = chi_polynomial(wavelength_A, aberrations)
        return cls(wavelength_A, semiangle_mrad * 1e-3 / wavelength_A, edge_invA, coefficients)

    def refocused(self, c10_A: float) -> Probe:
        """Return the probe with ``c10_A`` (Å) added to its defocus C10."""
        return self.with_added({"C10": c10_A})

    def with_added(self, aberrations: Mapping[str, float]) -> Probe:
        """Return the probe with these Krivanek coefficients (Å) added to its own."""
        return replace(self, chi_polynomial=self.chi_polynomial + chi_polynomial(self.wavelength_A, aberrations))

    def check_sampled(self, needed_for: str) -> None:
        """Raise MetadataError if the aperture is smaller than a detector pixel, so that no disc is left."""
        radius_px = self.semiangle_invA / self.edge_invA
        if not radius_px >= LEAST_RADIUS_PX:
            raise MetadataError(
                f"{needed_for} needs a disc of at least a pixel, and convergence_semiangle_mrad is"
                f" {radius_px:.2g} pixels",
                "correct convergence_semiangle_mrad, or detector_pixel_mrad",
            )

    def aperture(self, k_row: DoubleArray, k_col: DoubleArray) -> DoubleArray:
        """Amplitude of the disc at frequencies of any shape, 1/Å: 1 inside, falling linearly over one edge width."""
        distance = self.semiangle_invA - np.hypot(k_row, k_col)
        return np.clip(distance / self.edge_invA + 0.5, 0.0, 1.0)

    def chi(self, k_row: DoubleArray, k_col: DoubleArray) -> DoubleArray:
        """Aberration phase, rad, at frequencies of any shape, 1/Å."""
        return np.asarray(polynomial.polyval2d(k_row, k_col, self.chi_polynomial))

    def wave(self, k_row: DoubleArray, k_col: DoubleArray) -> ComplexPlane:
        """P(k) = A(k) exp(-i chi(k)), not normalised."""
        return np.asarray(self.aperture(k_row, k_col) * np.exp(-1j * self.chi(k_row, k_col)))

    def gradient(self, k_row: DoubleArray, k_col: DoubleArray) -> DoubleArray:
        """Grad chi (2, …) in rad Å: 2 pi times the shift of the image seen by detector pixel k."""
        along_row = polynomial.polyder(self.chi_polynomial, axis=0)
        along_col = polynomial.polyder(self.chi_polynomial, axis=1)
        return np.stack([polynomial.polyval2d(k_row, k_col, along_row), polynomial.polyval2d(k_row, k_col, along_col)])

    @property
    def rim_shift_A(self) -> float:
        """Radius of the geometric probe disc: how far the image seen by the disc's rim is shifted."""
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        shift = self.gradient(self.semiangle_invA * np.cos(angle), self.semiangle_invA * np.sin(angle)) / (2 * np.pi)
        return float(np.hypot(*shift).max())


def chi_polynomial(wavelength_A: float, aberrations: Mapping[str, float]) -> DoubleArray:
    """Return coefficients (5, 5) of chi in powers of (k_row, k_col), 1/Å, for Krivanek coefficients in Å."""
    total = np.zeros((POLYNOMIAL_SIZE, POLYNOMIAL_SIZE))
    for name, value in aberrations.items():
        n, m = KRIVANEK_ORDERS[name[:3]]
        angular = _power_of_k(m)
        part = angular.imag if name.endswith("b") else angular.real
        for _ in range((n + 1 - m) // 2):
            part = _times_k_squared(part)
        total += 2 * np.pi / wavelength_A * value * wavelength_A ** (n + 1) / (n + 1) * part
    return total


def _power_of_k(m: int) -> npt.NDArray[Any]:
    """Return (k_row + i k_col)^m as a polynomial: real part |k|^m cos(m theta), imaginary part |k|^m sin(m theta)."""
    out = np.zeros((POLYNOMIAL_SIZE, POLYNOMIAL_SIZE), dtype=complex)
    binomial = 1
    for j in range(m + 1):
        out[m - j, j] = binomial * 1j**j
        binomial = binomial * (m - j) // (j + 1)
    return out


def _times_k_squared(poly: DoubleArray) -> DoubleArray:
    out = np.zeros_like(poly)
    out[2:, :] += poly[:-2, :]
    out[:, 2:] += poly[:, :-2]
    return out
