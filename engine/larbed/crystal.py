"""The periodic specimen: cell, beams, and the multislice problem of one cell illuminated by tilted plane waves.

The window is the cell, so every pixel of its transform is a beam, and waves that leave it on one side enter on the
other, as in a crystal. Coordinates are those of the cell: q = h b1 + k b2, with b1, b2 the rows of ``reciprocal_invA``;
a beam tilted by the tangents tau adds 2 q . tau / lam to q^2 in free space, just as the backend does for a specimen
tilted by -tau. The backend receives only numbers, so that any cell is possible, including oblique ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.backend.multislice.description import ForwardModel, Tilts
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem
from ptylive.engine.larbed.tilt_series import TiltSeries
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray

INSIDE = 0
"""``tilt_mode`` for tilts of the specimen."""


@dataclass(frozen=True)
class CrystalGrid:
    """One cell on P x P pixels."""

    cell_A: DoubleArray
    """(2, 2) rows a1, a2, each (row, column)."""
    pixels: int

    @property
    def reciprocal_invA(self) -> DoubleArray:
        """(2, 2) rows b1, b2: a_i . b_j is 1 for i = j, otherwise 0."""
        return np.asarray(np.linalg.inv(self.cell_A).T, dtype=np.float64)

    @property
    def area_A2(self) -> float:
        """Area of the cell."""
        return float(abs(np.linalg.det(self.cell_A)))

    @property
    def orders(self) -> IndexArray:
        """(P,) integer h of the rows of a transform, zero first."""
        return np.asarray(np.rint(np.fft.fftfreq(self.pixels, 1 / self.pixels)), dtype=np.int64)

    def q_squared(self) -> DoubleArray:
        """(P, P) squared frequency of every beam, 1/Å^2."""
        h, k = np.meshgrid(self.orders, self.orders, indexing="ij")
        q = h[..., None] * self.reciprocal_invA[0] + k[..., None] * self.reciprocal_invA[1]
        return np.asarray((q**2).sum(axis=-1))

    def places(self, hk: IndexArray) -> IndexArray:
        """(M,) flat pixel index of each beam (M, 2)."""
        return np.asarray((hk[:, 0] % self.pixels) * self.pixels + hk[:, 1] % self.pixels)

    def holds(self, hk: IndexArray) -> bool:
        """Whether the grid distinguishes all the beams hk (M, 2)."""
        return bool(np.abs(hk).max() <= (self.pixels - 1) // 2)


def reduced_tilts(grid: CrystalGrid, tilts_mrad: DoubleArray, centre_mrad: DoubleArray) -> DoubleArray:
    """(N, 6) tilts of the backend from tilts of the beam (N, 2), measured from the zone axis ``centre_mrad`` (2,)."""
    tangents = np.tan(1e-3 * (tilts_mrad - centre_mrad))
    reduced = np.zeros((len(tilts_mrad), 6))
    reduced[:, 2:4] = -tangents @ grid.reciprocal_invA.T
    return reduced


def problem_of(
    series: TiltSeries, grid: CrystalGrid, slices: int, thickness_A: float, loss_offset: float
) -> MultisliceProblem:
    """The problem for the backend: patterns are beams, one position for all of them, ``slices`` slices.

    ``loss_offset``: counts below which differences of amplitudes have less weight. Raises ValueError if the beams do
    not fit the grid.
    """
    if not grid.holds(series.hk):
        raise ValueError(f"beams up to {int(np.abs(series.hk).max())} on {grid.pixels} pixels")
    size, count = grid.pixels, len(series.tilts_mrad)
    places = grid.places(series.hk)
    patterns = np.zeros((count, size * size), np.float32)
    patterns[:, places] = series.counts.clip(0)  # the ring's background may exceed what a dark spot holds
    weights: FloatArray = np.zeros(size * size, np.float32)
    weights[places] = 1
    distance = thickness_A / slices
    model = ForwardModel(
        pixel_A=1 / size,  # frequencies become the integers h, k
        wavelength_A=series.wavelength_A,
        thickness_A=(distance,) * slices,
        tilts=Tilts(reduced_tilts(grid, series.tilts_mrad, np.zeros(2)), INSIDE),
    )
    phase_per_A = -np.pi * series.wavelength_A * grid.q_squared()
    return MultisliceProblem(
        patterns=patterns.reshape(count, size, size),
        weights=weights.reshape(size, size),
        corners=np.zeros((count, 2), np.int64),
        shifts_px=np.zeros((count, 2)),
        object_shape=(slices, size, size),
        propagators=np.exp(1j * distance * phase_per_A)[None].repeat(max(slices - 1, 0), axis=0),
        data_term=DataTerm(DataTermKind.AMPLITUDE, loss_offset),
        phase_per_A=phase_per_A,
        model=model,
    )
