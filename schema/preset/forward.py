"""What light does between source and detector, as the model has it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto


class ForwardModel(StrictModel):
    """Settings of a refinement: what light does between source and detector, as the model has it."""

    num_slices: int = Field(default=1, ge=1, le=1000, description="slices of the object along the beam")
    total_thickness_A: float | None = Field(
        default=None, gt=0, description="thickness of the object, Å: num_slices times the distance between slices"
    )
    slice_distances_A: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, description="distance between slices, Å: one for all, or num_slices - 1 of them"
    )
    obj_modes: int = Field(default=1, ge=1, le=16, description="states of the object, averaged incoherently")
    probe_modes: Annotated[int, Field(ge=1, le=16)] | Auto = Field(
        default="auto", description="coherent modes of the probe, from source size and focal spread"
    )
    source_size_A: float = Field(default=0.3, ge=0, description="Gaussian source, standard deviation, Å")
    focal_spread_A: float = Field(default=20.0, ge=0, description="Gaussian focal spread, standard deviation, Å")
    window_px: Annotated[int, Field(ge=8, le=4096)] | Auto = Field(
        default="auto", description="pixels of the modelled pattern; auto: the detector, padded to a fast size"
    )
