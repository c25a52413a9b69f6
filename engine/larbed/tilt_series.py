"""A tilt series: the strength of each reflection at each tilt of a parallel beam."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray, IndexArray
from ptylive.schema.units import wavelength_A


@dataclass(frozen=True, eq=False)
class TiltSeries:
    """Counts of M reflections at N tilts. Vectors are (row, column) of the detector."""

    counts: FloatArray
    """(N, M), background subtracted; values below 0 due to noise count as 0 in the loss."""
    hk: IndexArray
    """(M, 2) orders of the reflections."""
    tilts_mrad: DoubleArray
    """(N, 2) tilts of the beam from the zone axis, as far as that is known."""
    cell_A: DoubleArray
    """(2, 2) rows a1, a2 of the projected cell."""
    energy_eV: float
    electrons: float
    """Counts of a pattern, including those outside the reflections."""
    raster: tuple[int, int] | None = None
    """Rows and columns of the tilts if they form a grid: discs are then pictures."""

    @property
    def wavelength_A(self) -> float:
        """Wavelength of the electrons."""
        return wavelength_A(self.energy_eV)

    def part(self, chosen: IndexArray) -> TiltSeries:
        """The series restricted to the tilts ``chosen`` (n,)."""
        return replace(self, counts=self.counts[chosen], tilts_mrad=self.tilts_mrad[chosen], raster=None)

    def shuffled(self, rng: np.random.Generator) -> TiltSeries:
        """Null test: patterns of the same reflections, assigned to other tilts."""
        return replace(self, counts=self.counts[rng.permutation(len(self.counts))])

    def discs(self, values: FloatArray) -> FloatArray:
        """(M, rows, columns) pictures of values (N, M) over the tilts. ValueError if the tilts form no raster."""
        if self.raster is None:
            raise ValueError("the tilts do not lie on a raster")
        return np.ascontiguousarray(values.T.reshape(-1, *self.raster))


def raster_tilts(
    shape: tuple[int, int], step_mrad: float, centre_mrad: tuple[float, float] = (0.0, 0.0), rotation_deg: float = 0.0
) -> DoubleArray:
    """(rows * columns, 2) tilts of a raster around ``centre_mrad``, rotated from +row towards +column."""
    rows, cols = (step_mrad * (np.arange(n) - (n - 1) / 2) for n in shape)
    grid = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    angle = np.deg2rad(rotation_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(grid @ turn.T + np.asarray(centre_mrad))
