"""The patterns that a refinement uses, the mapping of their pixels to the model's, and settings of several scans."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto, listed
from ptylive.schema.preset.sequence import check_sequence

MOST_SCANS, LARGEST_TILT_MRAD = 9, 50.0
"""Tilts are modelled as shears of the specimen: at 50 mrad columns are 0.1 % too long, 0.2 Å of 200."""
Pair = tuple[float, float]
OfScan = Literal["shifts", "tilts", "currents"]


class PatternSettings(StrictModel):
    """Which patterns are used, in which window, mirrored or shifted."""

    window_px: Annotated[int, Field(ge=8, le=4096)] | Auto = Field(
        default="auto", description="pixels of the modelled pattern; auto: the detector, padded to a fast size"
    )
    upsample_pattern: int = Field(
        default=1,
        ge=1,
        le=8,
        description="model pixels per detector pixel along each axis, for probes that are too wide",
    )
    data_shift_vector_px: tuple[float, float] = Field(
        default=(0.0, 0.0), description="shift (row, column) applied to every pattern, pixels; fractions allowed"
    )
    flip_ky: bool = Field(default=False, description="mirror every pattern: its rows in reverse order")
    sequence: str | None = Field(
        default=None, description="patterns used, in acquisition order: ranges such as 0:1000:2, 1500; or an npy file"
    )
    use_full_FOV: bool = Field(
        default=True, description="the object covers all patterns, including those that sequence leaves out"
    )

    @field_validator("sequence", mode="before")
    @classmethod
    def _readable_sequence(cls, value: object) -> object:
        return check_sequence(value)


class ScansSettings(StrictModel):
    """Several scans of one place at different tilts, in the given order."""

    scan_tilts_mrad: Annotated[tuple[Pair, ...], Field(min_length=2, max_length=MOST_SCANS)] | None = Field(
        default=None,
        description="tilt of the specimen (row, column) in each of several scans that are refined together, mrad",
    )
    scan_shifts_A: Annotated[tuple[Pair, ...], Field(min_length=2, max_length=MOST_SCANS)] | None = Field(
        default=None,
        description="position (row, column) of scan point (0, 0) of each of these scans, Å; if left out, found"
        " from their maps",
    )
    update_scans: tuple[OfScan, ...] = Field(
        default=("shifts", "currents"),
        description="quantities refined for each of these scans except the first: shifts, tilts, currents",
    )

    _lists = field_validator("update_scans", mode="before")(listed)

    @model_validator(mode="after")
    def _small_and_as_many(self) -> Self:
        tilts, shifts = self.scan_tilts_mrad, self.scan_shifts_A
        if tilts is not None and max(abs(tilt) for pair in tilts for tilt in pair) > LARGEST_TILT_MRAD:
            raise ValueError(f"scan_tilts_mrad: tilts above {LARGEST_TILT_MRAD:g} mrad cannot be modelled as shears")
        if shifts is not None and (tilts is None or len(tilts) != len(shifts)):
            raise ValueError("scan_shifts_A needs scan_tilts_mrad for equally many scans")
        return self
