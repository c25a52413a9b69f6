"""Where a refinement begins: the start, and what short trials settle before it."""

from __future__ import annotations

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto


class Start(StrictModel):
    """Settings of a refinement: where a refinement begins: the start, and what short trials settle before it."""

    start_from_map: bool | Auto = Field(default="auto", description="start from the live phase map, where one is given")
    scan_defocus: bool | Auto = Field(
        default="auto", description="find the defocus by short trials first; auto: where it was only estimated"
    )
    scan_thickness: bool = Field(default=False, description="find the thickness by short trials first")
    scan_rotation: bool = Field(default=False, description="find a rotation of the scan by short trials first")
    refine_drift: bool = Field(
        default=False,
        description="fit drift before the reconstruction, and apply it where it is certain (one slice, regular scans)",
    )
