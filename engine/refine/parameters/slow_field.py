"""Aberrations, tilts and thickness that vary slowly over the field, as polynomials of the position.

    value of pattern n = sum_k basis[n, k] coefficient[k]

The basis has no constant, which belongs to the probe. Its columns are orthogonal over the patterns and have a mean
square of 1, so a coefficient is the root mean square of its contribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray


def polynomials(positions_A: DoubleArray, order: int) -> FloatArray:
    """Basis (N, (order + 1)(order + 2) / 2 - 1) for positions (N, 2): row, column, row², row · column, …

    Powers that the positions cannot separate, such as second powers on two lines, are 0.
    """
    centred = positions_A - positions_A.mean(axis=0)
    scaled = centred / max(float(np.abs(centred).max()), 1e-300)
    columns = [
        scaled[:, 0] ** (degree - power) * scaled[:, 1] ** power
        for degree in range(order + 1)
        for power in range(degree + 1)
    ]
    directions, sizes = np.linalg.qr(np.stack(columns, axis=1))
    independent = np.abs(np.diag(sizes)) > 1e-6 * np.abs(np.diag(sizes)).max()
    signed = directions * np.where(independent, np.sign(np.diag(sizes)), 0.0)
    return np.asarray(signed[:, 1:] * np.sqrt(len(positions_A)), dtype=np.float32)


@dataclass(frozen=True)
class SlowField:
    """The varying quantities and their basis; rows of the coefficients are aberrations first, then columns of tilts."""

    basis: FloatArray
    """(N, K)."""
    aberrations: int
    """Number of aberrations that vary."""
    tilt_columns: tuple[int, ...] = ()
    """Indices of those of the six tilts that vary, mrad."""
    tilts_mrad: FloatArray | None = None
    """(N, 6) tilts to which the varying ones are added; None if no tilt varies."""
    thickness: bool = False
    """Whether the thickness varies: the last row, as a share of it."""

    def added(self, coefficients: Any, tilts: Any, aberrations: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Tilts (N, 6), mrad, aberrations (N, n), Å, and shares of the thickness (N,) for coefficients (quantities, K).

        ``tilts`` and ``aberrations`` are returned unchanged, and None for the thickness, where these do not vary.
        """
        basis = xp.asarray(self.basis, dtype=coefficients.dtype)
        if self.aberrations:
            aberrations = basis @ coefficients[: self.aberrations].T
        if self.tilts_mrad is not None:
            tilts = xp.array(self.tilts_mrad, dtype=coefficients.dtype)
            tilts[:, list(self.tilt_columns)] += basis @ coefficients[self.aberrations : self.aberrations + 2].T
        return tilts, aberrations, basis @ coefficients[-1] if self.thickness else None

    def gradient(self, by_aberrations: Any, by_tilts_mrad: Any, by_stretch: Any, xp: Any) -> Any:
        """Gradient by coefficients (quantities, K), from those by aberrations (N, n), tilts (N, 6), thickness (N,)."""
        rows = []
        if self.aberrations:
            rows.append(by_aberrations.T @ xp.asarray(self.basis, dtype=by_aberrations.dtype))
        if self.tilt_columns:
            basis = xp.asarray(self.basis, dtype=by_tilts_mrad.dtype)
            rows.append(by_tilts_mrad[:, list(self.tilt_columns)].T @ basis)
        if self.thickness:
            rows.append((by_stretch @ xp.asarray(self.basis, dtype=by_stretch.dtype))[None])
        return xp.concatenate(rows)
