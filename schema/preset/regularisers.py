"""Regularisers: prior knowledge about the answer, as terms of the loss and as hard constraints.

The formulas are documented with the classes and functions of ``engine/refine/regularisers``. A hard constraint that is
switched on acts before every epoch; a schedule selects the epochs. A weight is in units of the loss over all patterns;
0 switches a term off, which then costs nothing. Weights may follow a schedule.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.added import declared
from ptylive.schema.preset.kinds import Weight

Sigma = Annotated[float, Field(gt=0, le=1000)]


class HardConstraints(StrictModel):
    """Direct changes between two epochs, after which L-BFGS starts afresh; part of :class:`RegulariserSettings`."""

    apply_gaussian_filter_px: float = Field(
        default=0.0, ge=0, le=1000, description="blur the object's phase, standard deviation in pixels; 0: never"
    )
    apply_gaussian_filter_amplitude_px: float = Field(
        default=0.0, ge=0, le=1000, description="blur the object's absorption, standard deviation in pixels; 0: never"
    )
    beta_wedge: float = Field(
        default=0.0, ge=0, le=1000, description="remove the missing wedge from the object: its steepness; 0: never"
    )
    keep_probe_states_orthogonal: bool = Field(default=False, description="make the probe modes orthogonal")
    do_charge_flip: bool = Field(default=False, description="flip weak phases and absorptions of each slice")
    cf_delta_phase: float = Field(default=0.1, ge=0, le=1, description="phases below this share of the largest flip")
    cf_delta_abs: float = Field(
        default=0.01, ge=0, le=1, description="absorptions below this share of the largest flip"
    )
    cf_beta_phase: float = Field(default=-0.95, ge=-10, le=10, description="factor of phases that flip")
    cf_beta_abs: float = Field(default=-0.95, ge=-10, le=10, description="factor of absorptions that flip")
    fancy_sigma_phase_px: tuple[Sigma, Sigma] | None = Field(
        default=None, description="charge flip between sharpening and blurring the phase: radii of both, pixels"
    )
    fancy_sigma_abs_px: tuple[Sigma, Sigma] | None = Field(
        default=None, description="charge flip between sharpening and blurring the absorption: radii of both, pixels"
    )
    fancy_deconvolution: Literal["wiener", "richardson_lucy"] = Field(
        default="wiener",
        description="how fancy_sigma_…_px sharpen: Wiener's filter, or Richardson and Lucy's iteration",
    )
    restart_from_vacuum: bool = Field(default=False, description="set the object to 1, keep everything else")
    reset_positions: bool = Field(default=False, description="set refined positions to the nominal ones")
    reset_history_flag: bool = Field(default=False, description="forget the history of L-BFGS")


class Penalties(StrictModel):
    """Weights of unwanted features, and the parameters of the weighted terms."""

    loss_weight: float = Field(
        default=1.0,
        gt=0,
        description="weight of the patterns relative to the regularisers, whose weights are divided by it",
    )
    phase_norm_weight: Weight = Field(
        default=0.0, description="weight of the sum of the absolute phases of the object, 1/rad"
    )
    abs_norm_weight: Weight = Field(
        default=0.0, description="weight of the sum of the absolute absorptions of the object (-ln of the modulus)"
    )
    atv_weight: Weight = Field(
        default=0.0, description="weight of the adaptive total variation of the object along rows and columns"
    )
    atv_p: float = Field(default=2.0, ge=1, le=8, description="exponent of the differences within a pixel")
    atv_q: float = Field(default=1.0, gt=0, le=8, description="exponent of the length of the difference of a pixel")
    missing_wedge_weight: Weight = Field(
        default=0.0, description="weight of the object's power at high frequencies along the beam and low ones across"
    )
    missing_wedge_beta: float = Field(
        default=1.0, gt=0, le=1000, description="steepness of the wedge of missing_wedge_weight"
    )
    mixed_variance_weight: Weight = Field(
        default=0.0, description="weight of differences between object states at low frequencies"
    )
    mixed_variance_sigma: float = Field(
        default=0.5, gt=0, le=10, description="frequencies that count as low, Gaussian, cycles per pixel"
    )
    probe_reg_constraint_weight: Weight = Field(
        default=0.0, description="weight of the probe's power outside the aperture"
    )
    probe_constraint_radius: float = Field(
        default=1.1, gt=0, le=10, description="radius of the aperture that stays free, convergence semi-angles"
    )
    probe_constraint_mask: str | None = Field(
        default=None, description="npy file (window_px, window_px) instead of the radius: true where the probe is free"
    )
    window_weight: Weight = Field(default=0.0, description="weight of the probe's power outside a window in real space")
    window: tuple[Annotated[float, Field(ge=0, le=2)], Annotated[float, Field(gt=0, le=2)]] | str = Field(
        default=(0.7, 1.0),
        description="radii where the window of window_weight begins and ends, half widths; or npy file of weights",
    )
    position_prior_A: float | None = Field(
        default=None,
        gt=0,
        description="expected deviation of a position from nominal, Å: keeps refined positions near it",
    )
    fast_axis_reg_weight_positions: Weight = Field(
        default=0.0, description="weight of squared second differences of the positions along rows, 1/Å²"
    )
    slow_axis_reg_weight_positions: Weight = Field(
        default=0.0, description="weight of squared second differences of the mean positions of rows, 1/Å²"
    )
    deformation_reg_weight_positions: Weight = Field(
        default=0.0, description="weight of squared deviations of the positions from an affine grid, 1/Å²"
    )
    fast_axis_reg_weight_tilts: Weight = Field(
        default=0.0, description="weight of squared second differences of the tilts along rows, 1/mrad²"
    )
    slow_axis_reg_weight_tilts: Weight = Field(
        default=0.0, description="weight of squared second differences of the mean tilts of rows, 1/mrad²"
    )
    deformation_reg_weight_tilts: Weight = Field(
        default=0.0,
        description="weight of squared deviations of the tilts from an affine function of the grid, 1/mrad²",
    )


class RegulariserSettings(HardConstraints, Penalties):
    """Penalties and hard constraints, and the settings that regularisers add."""

    def value(self, name: str) -> Any:
        """Return a setting by its name; an unset added one has its default. Raises KeyError if there is none."""
        return getattr(self, name) if name in type(self).model_fields else declared()[name].default
