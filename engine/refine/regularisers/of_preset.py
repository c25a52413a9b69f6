"""The regularisers a preset asks for. What is off is not there, and costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.parameter_vector import BlockName, Layout
from ptylive.engine.refine.parameters.terms import Term
from ptylive.engine.refine.regularisers.missing_wedge import MissingWedge, wedge_weights
from ptylive.engine.refine.regularisers.object_states import MixedVariance
from ptylive.engine.refine.regularisers.penalty import Penalties, Penalty
from ptylive.engine.refine.regularisers.probe_support import (
    OutsideAperture,
    OutsideWindow,
    outside_circle,
    outside_mask,
    outside_radii,
    window_weights,
)
from ptylive.engine.refine.regularisers.scan_grid import ScanGrid, SmoothGrid
from ptylive.engine.refine.regularisers.sparsity import AbsorptionNorm, PhaseNorm
from ptylive.engine.refine.regularisers.total_variation import TotalVariation
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.preset import Preset


@dataclass(frozen=True)
class Regularisation:
    """What regularisers need to know besides the preset."""

    grid: ObjectGrid
    scan: ScanGrid
    k_radius: DoubleArray
    """(P, P) spatial frequencies of the window, 1/Å."""
    semiangle_invA: float
    spacings_A: tuple[float, ...]
    """Free space behind each slice but the last, Å."""

    def terms(self, preset: Preset, layout: Layout) -> tuple[Term, ...]:
        """Terms of the loss for the weights of one epoch (``Preset.at``). Raises MetadataError for unusable masks."""
        of_object, of_probe = tuple(self._of_object(preset, layout)), tuple(self._of_probe(preset, layout))
        terms: list[Term] = [Penalties(of_object, of_probe)] if of_object or of_probe else []
        terms += self._of_grid(preset, layout)
        return tuple(terms)

    @staticmethod
    def curvature_of_positions(preset: Preset, grid: ObjectGrid) -> float:
        """How much the regularisers of the positions bend the loss along one displacement, at most."""
        weights = preset.fast_axis_reg_weight_positions + preset.slow_axis_reg_weight_positions
        return 2 * grid.pixel_A**2 * (16 * weights + preset.deformation_reg_weight_positions)

    def wedge(self, shape: tuple[int, int, int], beta: float) -> FloatArray:
        """Weights of the missing wedge (slices, Y, X). Raises MetadataError where slices are unevenly apart."""
        distances = self.spacings_A
        if not distances or np.ptp(distances) > 1e-3 * distances[0]:
            raise MetadataError("the missing wedge needs several slices at equal distances", "set its weight to 0")
        return wedge_weights(shape, distances[0], self.grid.pixel_A, beta)

    def _of_object(self, preset: Preset, layout: Layout) -> list[Penalty]:
        share = 1 / preset.loss_weight
        found: list[Penalty] = []
        if preset.phase_norm_weight > 0:
            found.append(PhaseNorm(share * preset.phase_norm_weight))
        if preset.abs_norm_weight > 0:
            found.append(AbsorptionNorm(share * preset.abs_norm_weight))
        if preset.atv_weight > 0:
            found.append(TotalVariation(share * preset.atv_weight, preset.atv_p, preset.atv_q))
        if preset.missing_wedge_weight > 0:
            weights = self.wedge(layout.object_shape, preset.missing_wedge_beta)
            found.append(MissingWedge(share * preset.missing_wedge_weight, weights))
        if preset.mixed_variance_weight > 0 and layout.object_modes > 1:
            found.append(MixedVariance(share * preset.mixed_variance_weight, preset.mixed_variance_sigma))
        return found

    def _of_probe(self, preset: Preset, layout: Layout) -> list[Penalty]:
        share, size = 1 / preset.loss_weight, layout.window
        found: list[Penalty] = []
        if preset.probe_reg_constraint_weight > 0:
            if preset.probe_constraint_mask is not None:
                unwanted = outside_mask(preset.probe_constraint_mask, size)
            else:
                unwanted = outside_circle(self.k_radius, preset.probe_constraint_radius * self.semiangle_invA)
            found.append(OutsideAperture(share * preset.probe_reg_constraint_weight, unwanted))
        if preset.window_weight > 0:
            window = preset.window
            weights = window_weights(window, size) if isinstance(window, str) else outside_radii(size, *window)
            found.append(OutsideWindow(share * preset.window_weight, weights))
        return found

    def _of_grid(self, preset: Preset, layout: Layout) -> list[Term]:
        """Smoothness of positions (given per Å^2, refined in pixels) and of tilts (refined in mrad)."""
        share = 1 / preset.loss_weight
        weights = {
            "shifts_px": np.array(
                [
                    preset.fast_axis_reg_weight_positions,
                    preset.slow_axis_reg_weight_positions,
                    preset.deformation_reg_weight_positions,
                ]
            )
            * self.grid.pixel_A**2,
            "tilts_mrad": np.array(
                [
                    preset.fast_axis_reg_weight_tilts,
                    preset.slow_axis_reg_weight_tilts,
                    preset.deformation_reg_weight_tilts,
                ]
            ),
        }
        found: list[Term] = []
        for block in layout.blocks:
            asked = share * weights.get(block.name, np.zeros(3))
            if asked.any() and len(block.start) == len(self.scan.row):
                found.append(SmoothGrid(BlockName(block.name), block.start, self.scan, *(float(w) for w in asked)))
        return found
