"""The patterns a refinement looks at, and how their pixels lie in the model's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto
from ptylive.schema.preset.sequence import check_sequence


class PatternSettings(StrictModel):
    """Which patterns are used, in which window, mirrored or shifted."""

    window_px: Annotated[int, Field(ge=8, le=4096)] | Auto = Field(
        default="auto", description="pixels of the modelled pattern; auto: the detector, padded to a fast size"
    )
    upsample_pattern: int = Field(
        default=1, ge=1, le=8, description="pixels of the model along a pixel of the detector, for probes too wide"
    )
    data_shift_vector_px: tuple[float, float] = Field(
        default=(0.0, 0.0), description="shift (row, column) given to every pattern, pixels; fractions allowed"
    )
    flip_ky: bool = Field(default=False, description="mirror every pattern: its rows in reverse order")
    sequence: str | None = Field(
        default=None, description="patterns used, in acquisition order: ranges such as 0:1000:2, 1500; or an npy file"
    )
    use_full_FOV: bool = Field(
        default=True, description="the object holds all patterns, also those that sequence leaves out"
    )

    @field_validator("sequence", mode="before")
    @classmethod
    def _readable_sequence(cls, value: object) -> object:
        return check_sequence(value)
