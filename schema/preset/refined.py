"""Which quantities are refined."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.kinds import Auto, listed


def _known_aberration(name: str) -> str:
    if name not in ABERRATION_NAMES:
        raise ValueError(f"unknown aberration {name!r}; known are {', '.join(ABERRATION_NAMES)}")
    return name


AberrationName = Annotated[str, AfterValidator(_known_aberration)]


class RefinedSettings(StrictModel):
    """Which quantities move."""

    update_obj: bool = Field(default=True, description="refine the object")
    update_probe: bool = Field(default=True, description="refine the probe")
    update_probe_pos: bool = Field(
        default=False,
        description="refine every position; position_bound_A in the result shows whether the data allow it",
    )
    update_beam_current: bool = Field(default=False, description="refine the beam current of every pattern")
    update_static_background: bool = Field(default=False, description="refine counts common to all patterns")
    update_slice_distances: bool = Field(default=False, description="refine the distances between slices")
    update_thickness: bool | Auto = Field(
        default="auto", description="refine the thickness of equal slices; auto: unless it was stated"
    )
    update_aberrations: bool = Field(
        default=False, description="refine aberrations of the probe, in each part of the scan where parts are marked"
    )
    refined_aberrations: Annotated[tuple[AberrationName, ...], Field(min_length=1)] = Field(
        default=("C10", "C12a", "C12b"), description="which aberrations update_aberrations refines (Krivanek's names)"
    )
    update_tilts: bool = Field(default=False, description="refine the tilts that tilt_mode uses")
    update_detector_psf: bool = Field(default=False, description="refine the Gaussian point spread of the detector")

    _lists = field_validator("refined_aberrations", mode="before")(listed)

    @property
    def moving(self) -> frozenset[str]:
        """The switches that are on."""
        return frozenset(name for name in type(self).model_fields if getattr(self, name) is True)

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if not self.moving:
            raise ValueError("update_obj, update_probe and every other update_… are off: nothing would be refined")
        return self
