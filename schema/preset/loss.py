"""The data term: how modelled and measured patterns are compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto, Counts


class LossSettings(StrictModel):
    """The loss of patterns or coefficients."""

    algorithm: Literal[
        "auto",
        "lsq_sqrt",
        "ml",
        "lsq",
        "lsq_sqrt_2",
        "lsq_compressed",
        "gauss_compressed",
        "poisson_compressed",
        "sqrt_compressed",
    ] = Field(
        default="auto",
        description="data term: least squares of amplitudes, Poisson likelihood, least squares of counts, chi squared;"
        " of coefficients: least squares, of their roots, Poisson likelihood, least squares of projected amplitudes",
    )
    loss_offset: Counts | Auto = Field(
        default="auto", description="counts added to data and model under the square root of lsq_sqrt"
    )
    loss_floor: Annotated[float, Field(gt=0)] | Auto = Field(
        default="auto", description="counts added to the model inside the logarithm of ml"
    )
    bright_field_only: bool | Auto = Field(
        default="auto", description="compare inside the bright-field disc only (up to 1.05 semi-angles)"
    )
    noise_weighting: bool = Field(
        default=True, description="lsq_compressed: weight coefficients by their counting noise"
    )
    perpendicular_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared length that the masks do not capture, where it was recorded",
    )
    perpendicular_weight_dark: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="the same for the dark field alone; none: as perpendicular_weight"
    )
    edge_weight: float = Field(
        default=0.0, ge=0, description="weight of modelled counts outside all masks (compressed data)"
    )
