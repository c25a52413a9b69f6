"""What is refined, and in which form."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.kinds import Auto


def _known_aberration(name: str) -> str:
    if name not in ABERRATION_NAMES:
        raise ValueError(f"unknown aberration {name!r}; known are {', '.join(ABERRATION_NAMES)}")
    return name


AberrationName = Annotated[str, AfterValidator(_known_aberration)]


class Refinables(StrictModel):
    """Settings of a refinement: what is refined, and in which form."""

    update_obj: bool = Field(default=True, description="refine the object")
    update_probe: bool = Field(default=True, description="refine the probe")
    phase_only_obj: bool | Auto = Field(default="auto", description="object of modulus 1: only its phase is refined")
    weakly_damped_obj: bool = Field(
        default=False, description="object exp(i phi - a) with a small absorption a at or above 0"
    )
    probe_part: Literal["both", "phase", "amplitude"] = Field(
        default="both", description="what of the probe is refined, in the aperture plane"
    )
    update_probe_pos: bool = Field(
        default=False, description="refine every position; position_bound_A in the result says whether the data can"
    )
    update_beam_current: bool = Field(default=False, description="refine the beam current of every pattern")
    update_static_background: bool = Field(default=False, description="refine counts common to all patterns")
    update_slice_distances: bool = Field(default=False, description="refine the distances between slices")
    update_aberrations: bool = Field(
        default=False, description="refine aberrations of the probe, in each part of the scan where parts are marked"
    )
    refined_aberrations: Annotated[tuple[AberrationName, ...], Field(min_length=1)] = Field(
        default=("C10", "C12a", "C12b"), description="which aberrations update_aberrations refines (Krivanek's names)"
    )
    update_tilts: bool = Field(default=False, description="refine the tilts that tilt_mode uses")
