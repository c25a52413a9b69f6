"""Where a refinement begins: the start of the object, and what short trials settle before it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto


class StartSettings(StrictModel):
    """The start of the object, and what is found before the first epoch."""

    start_from_map: bool | Auto = Field(default="auto", description="start from the live phase map, where one is given")
    start_map: Literal["obf", "wdd_phase", "tcbf", "idpc"] = Field(
        default="obf", description="the live map that start_from_map means; of tcbf half the relative contrast is taken"
    )
    start_object: str | None = Field(
        default=None,
        description="object to start from, brought to these slices, pixels and modes: a results file of ptylive, "
        "PtyRAD, py4DSTEM, fold_slice, phaser, ptychodus or PyPty, or PyPty's npy",
    )
    start_positions: str | None = Field(
        default=None,
        description="positions to start from, instead of the nominal ones: a results file, as start_object",
    )
    scan_defocus: bool | Auto = Field(
        default="auto", description="find the defocus by short trials first; auto: where it was only estimated"
    )
    scan_thickness: bool = Field(default=False, description="find the thickness by short trials first")
    scan_rotation: bool = Field(default=False, description="find a rotation of the scan by short trials first")
    refine_drift: bool | Auto = Field(
        default="auto",
        description="look for a drift of regular scans, and take it out; auto: where it is certain",
    )
