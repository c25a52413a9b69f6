"""Several scans of one place at different tilts of the specimen, refined together."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ptylive.schema.model import StrictModel

MOST_SCANS, LARGEST_TILT_MRAD = 9, 50.0
"""Tilts are shears of the specimen: at 50 mrad columns are 0.1 % too long, 0.2 Å of 200."""
Pair = tuple[float, float]
OfScan = Literal["shifts", "tilts", "currents"]


class ScansSettings(StrictModel):
    """What is known of each scan, in the order in which they are given."""

    scan_tilts_mrad: Annotated[tuple[Pair, ...], Field(min_length=2, max_length=MOST_SCANS)] | None = Field(
        default=None,
        description="tilt of the specimen (row, column) in each of several scans that are refined together, mrad",
    )
    scan_shifts_A: Annotated[tuple[Pair, ...], Field(min_length=2, max_length=MOST_SCANS)] | None = Field(
        default=None,
        description="where scan point (0, 0) of each of these scans lies (row, column), Å; left out: from their maps",
    )
    update_scans: tuple[OfScan, ...] = Field(
        default=("shifts", "currents"),
        description="what is refined of each of these scans but the first: shifts, tilts, currents",
    )

    @model_validator(mode="after")
    def _small_and_as_many(self) -> Self:
        tilts, shifts = self.scan_tilts_mrad, self.scan_shifts_A
        if tilts is not None and max(abs(one) for pair in tilts for one in pair) > LARGEST_TILT_MRAD:
            raise ValueError(f"scan_tilts_mrad: tilts above {LARGEST_TILT_MRAD:g} mrad are no shears any more")
        if shifts is not None and (tilts is None or len(tilts) != len(shifts)):
            raise ValueError("scan_shifts_A needs scan_tilts_mrad of as many scans")
        return self
