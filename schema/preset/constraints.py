"""Regularisers and constraints: what is known of the answer beforehand."""

from __future__ import annotations

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto


class Constraints(StrictModel):
    """Settings of a refinement: regularisers and constraints: what is known of the answer beforehand."""

    non_negative_phase: bool | Auto = Field(
        default="auto", description="hold the phase at or above 0, the vacuum (phase_only_obj only)"
    )
    position_prior_A: float | None = Field(
        default=None, gt=0, description="expected deviation of a position from nominal, Å: holds refined positions near"
    )
    fast_axis_reg_weight_positions: float = Field(
        default=0.0, ge=0, description="weight of squared second differences of the positions along rows, 1/Å²"
    )
    deformation_reg_weight_positions: float = Field(
        default=0.0, ge=0, description="weight of squared deviations of the positions from an affine grid, 1/Å²"
    )
