"""The model of the specimen."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto, listed

MOST_SLICES = 1000
THICKEST_A = 1e7
"""Largest total thickness."""


class ObjectSettings(StrictModel):
    """Slices of the object, its states, and the form in which it is refined."""

    num_slices: Annotated[int, Field(ge=1, le=MOST_SLICES)] | Auto = Field(
        default="auto",
        description="slices of the object along the beam; auto: as a given thickness requires, or one found by trials;"
        " one slice if several would not predict held-out patterns better",
    )
    total_thickness_A: float | None = Field(
        default=None,
        gt=0,
        le=THICKEST_A,
        description="thickness of the object, Å: num_slices times the distance between slices",
    )
    slice_distances_A: tuple[Annotated[float, Field(gt=0, le=THICKEST_A)], ...] | None = Field(
        default=None, description="distance between slices, Å: one for all, or num_slices - 1 of them"
    )
    obj_modes: int = Field(default=1, ge=1, le=16, description="states of the object, averaged incoherently")
    phase_only_obj: bool | Auto = Field(default="auto", description="object of modulus 1: only its phase is refined")
    weakly_damped_obj: bool = Field(
        default=False, description="object exp(i phi - a) with a small absorption a at or above 0"
    )
    non_negative_phase: bool | Auto = Field(
        default="auto", description="hold the phase at or above 0, the vacuum (phase_only_obj or weakly_damped_obj)"
    )
    extra_space_on_side_px: int = Field(
        default=0, ge=0, le=10_000, description="object pixels added around the area that the patterns cover"
    )
    phase_deviation: bool = Field(
        default=True, description="estimate the standard deviation of the phase at the end of the run, pixel by pixel"
    )

    _lists = field_validator("slice_distances_A", mode="before")(listed)

    @model_validator(mode="after")
    def _one_kind_of_object(self) -> Self:
        if self.weakly_damped_obj and self.phase_only_obj is True:
            raise ValueError("weakly_damped_obj and phase_only_obj exclude each other")
        return self

    @model_validator(mode="after")
    def _thickness_known(self) -> Self:
        if self.num_slices == "auto":
            return self
        if self.slice_distances_A is not None and len(self.slice_distances_A) not in (1, self.num_slices - 1):
            raise ValueError(
                f"slice_distances_A has {len(self.slice_distances_A)} values: give one, or num_slices - 1"
                f" = {self.num_slices - 1}"
            )
        if self.num_slices > 1 and self.total_thickness_A is None and self.slice_distances_A is None:
            raise ValueError(f"num_slices = {self.num_slices} needs total_thickness_A or slice_distances_A")
        return self

    @property
    def slices(self) -> int:
        """Slices along the beam; while undecided, as many as the given distances imply, or one."""
        if isinstance(self.num_slices, int):
            return self.num_slices
        gaps = len(self.slice_distances_A or ())
        return gaps + 1 if gaps > 1 else 1

    @property
    def spacings_A(self) -> tuple[float, ...]:
        """Free space behind each slice but the last, Å: num_slices - 1 values."""
        gaps = self.slices - 1
        if self.slice_distances_A is not None:
            return self.slice_distances_A if len(self.slice_distances_A) == gaps else self.slice_distances_A * gaps
        return ((self.total_thickness_A or 0.0) / self.slices,) * gaps

    @property
    def slice_thickness_A(self) -> tuple[float, ...]:
        """Thickness of each slice, Å; 0 for a single slice of unknown thickness."""
        if self.slices == 1:
            return (self.total_thickness_A or sum(self.slice_distances_A or ()),)
        return (*self.spacings_A, self.spacings_A[-1])

    def words(self, automatic: str) -> str:
        """`phase`, `complex` or `weakly damped`; ``automatic`` while the form is left open."""
        if self.weakly_damped_obj:
            return "weakly damped"
        return automatic if isinstance(self.phase_only_obj, str) else "phase" if self.phase_only_obj else "complex"
