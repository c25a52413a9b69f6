"""Zernike polynomials on the pixels of a region, made orthonormal there.

Order of single index j (OSA/ANSI Z80.28): j = (n (n + 2) + m) / 2; the first 45 are all with radial order n <= 8.
Z_nm = R_n|m|(rho) cos(m theta) for m >= 0, R_n|m|(rho) sin(|m| theta) below (basis paper, eqs. 14-16). On a disc of
pixels they are only nearly orthogonal, on the ring of the dark field not at all: Gram-Schmidt follows (choice.py).
"""

from __future__ import annotations

import math

import numpy as np

from ptylive.engine.bases.field import DetectorField
from ptylive.schema.model import BoolArray, DoubleArray


def zernike(field: DetectorField, region: BoolArray, outer_px: float, count: int) -> DoubleArray:
    """Return the first ``count`` polynomials (count, pixels of the region), radius 1 at ``outer_px``."""
    rho = field.radius[region] / outer_px
    theta = np.arctan2(field.grid.k_col[region], field.grid.k_row[region])
    return np.stack([_polynomial(rho, theta, *orders(j)) for j in range(count)])


def orders(j: int) -> tuple[int, int]:
    """Return radial order n and azimuthal order m of the single index j."""
    n = (math.isqrt(8 * j + 1) - 1) // 2
    return n, 2 * j - n * (n + 2)


def _polynomial(rho: DoubleArray, theta: DoubleArray, n: int, m: int) -> DoubleArray:
    radial = np.zeros_like(rho)
    for s in range((n - abs(m)) // 2 + 1):
        factor = (-1) ** s * math.comb(n - s, s) * math.comb(n - 2 * s, (n - abs(m)) // 2 - s)
        radial += factor * rho ** (n - 2 * s)
    return radial * (np.cos(m * theta) if m >= 0 else np.sin(-m * theta))
