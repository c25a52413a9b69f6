"""Hard constraints: changes made by hand between two epochs. Each one forgets the history of L-BFGS.

The formulas stand with the functions of ``engine/refine/regularisers/projections``. A switch that is on acts before
every epoch; a schedule says in which ones.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel

Sigma = Annotated[float, Field(gt=0, le=1000)]


class HardConstraints(StrictModel):
    """Changes by hand; part of :class:`ptylive.schema.preset.regularisers.RegulariserSettings`."""

    apply_gaussian_filter_px: float = Field(
        default=0.0, ge=0, le=1000, description="blur the object's phase, standard deviation in pixels; 0: never"
    )
    apply_gaussian_filter_amplitude_px: float = Field(
        default=0.0, ge=0, le=1000, description="blur the object's absorption, standard deviation in pixels; 0: never"
    )
    beta_wedge: float = Field(
        default=0.0, ge=0, le=1000, description="take the missing wedge out of the object: its steepness; 0: never"
    )
    keep_probe_states_orthogonal: bool = Field(default=False, description="make the probe modes orthogonal")
    do_charge_flip: bool = Field(default=False, description="flip what is weak in phase and absorption of each slice")
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
