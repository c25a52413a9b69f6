"""Smoothness of positions and tilts over the scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import BlockName, ParameterLayout
from ptylive.engine.refine.regularisers.registration import RegulariserContext, regulariser
from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement
from ptylive.schema.model import FloatArray
from ptylive.schema.preset.regularisers import RegulariserSettings

OF_POSITIONS = (
    "fast_axis_reg_weight_positions",
    "slow_axis_reg_weight_positions",
    "deformation_reg_weight_positions",
)
OF_TILTS = ("fast_axis_reg_weight_tilts", "slow_axis_reg_weight_tilts", "deformation_reg_weight_tilts")


@regulariser("smooth_scan", acts_on="parameters", switches=(*OF_POSITIONS, *OF_TILTS), order=80)
@dataclass(frozen=True)
class SmoothGrid:
    """Penalty on displacements d of a quantity that every pattern has, from their nominal values.

    fast sum |d[i-1] - 2 d[i] + d[i+1]|^2 along rows + slow sum |m[r-1] - 2 m[r] + m[r+1]|^2 of the rows' means m
    + deformation sum |d - affine fit of d over the nominal positions|^2
    (PyPty: fast_axis_reg, slow_axis_reg, which uses sums of the rows, and deformation_reg)
    """

    block: BlockName
    nominal: FloatArray
    """(N, n) values before refinement."""
    grid: ScanArrangement
    fast: float
    slow: float
    deformation: float

    @classmethod
    def of_preset(cls, context: RegulariserContext) -> tuple[SmoothGrid, ...]:
        """Penalties on positions (weights per Å^2, refined in pixels) and tilts (in mrad), if these are refined."""
        settings, share = context.settings, 1 / context.settings.loss_weight
        weights = {
            "shifts_px": np.array([getattr(settings, name) for name in OF_POSITIONS]) * context.grid.pixel_A**2,
            "tilts_mrad": np.array([getattr(settings, name) for name in OF_TILTS]),
        }
        penalties: list[SmoothGrid] = []
        for block in context.layout.blocks:
            strengths = share * weights.get(block.name, np.zeros(3))
            if strengths.any() and len(block.start) == len(context.scan.row):
                penalties.append(cls(BlockName(block.name), block.start, context.scan, *(float(w) for w in strengths)))
        return tuple(penalties)

    @staticmethod
    def curvature_of_positions(settings: RegulariserSettings, grid: ObjectGrid) -> float:
        """Upper bound of the curvature of the loss along one displacement."""
        weights = settings.fast_axis_reg_weight_positions + settings.slow_axis_reg_weight_positions
        return 2 * grid.pixel_A**2 * (16 * weights + settings.deformation_reg_weight_positions)

    def add(self, layout: ParameterLayout, vector: Any, gradient: Any, xp: Any) -> Any:
        """See :class:`ptylive.engine.refine.parameters.terms.Term`."""
        displacements = layout.other_blocks(vector)[self.block] - xp.asarray(self.nominal)
        force = xp.zeros_like(displacements)
        if self.fast > 0:
            force += self.fast * _triple_force(displacements, xp.asarray(self.grid.triples), xp)
        if self.slow > 0:
            force += self.slow * self._row_force(displacements, xp)
        if self.deformation > 0:
            columns = xp.asarray(self.grid.affine, dtype=displacements.dtype)
            force += self.deformation * (displacements - columns @ (columns.T @ displacements))
        layout.other_blocks(gradient)[self.block][...] += 2 * force
        return (force * displacements).sum().astype(np.float64)  # all parts are quadratic in d

    def _row_force(self, displacements: Any, xp: Any) -> Any:
        row = xp.asarray(self.grid.row)
        counts = xp.asarray(self.grid.patterns_in_row, dtype=displacements.dtype)[:, None]
        means = xp.zeros((len(counts), displacements.shape[1]), displacements.dtype)
        xp.add.at(means, row, displacements)
        force = _triple_force(means / counts, xp.asarray(self.grid.row_triples), xp)
        return (force / counts)[row]

    @property
    def curvature(self) -> float:
        """Upper bound of the second derivative by one displacement."""
        return 2 * (16 * self.fast + 16 * self.slow + self.deformation)


def _triple_force(values: Any, triples: Any, xp: Any) -> Any:
    """Half the gradient of sum |v[i-1] - 2 v[i] + v[i+1]|^2 over triples (n, 3)."""
    force = xp.zeros_like(values)
    before, here, after = triples.T
    curved = values[before] - 2 * values[here] + values[after]
    for index, weight in ((before, 1), (here, -2), (after, 1)):
        xp.add.at(force, index, weight * curved)
    return force
