"""What detector, source and scan do to the patterns besides the plain model."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES

MOST_PSF_PX = 20.0


TILTS, THICKNESS = "tilts", "thickness"


def _known(name: str) -> str:
    if name not in (TILTS, THICKNESS, *ABERRATION_NAMES):
        known = ", ".join((TILTS, THICKNESS, *ABERRATION_NAMES))
        raise ValueError(f"{name!r} cannot vary over the field; known are {known}")
    return name


FieldTerm = Annotated[str, AfterValidator(_known)]


class InstrumentSettings(StrictModel):
    """Imperfections that are modelled: off unless they are asked for (docs/forward-model.md)."""

    detector_psf_px: float = Field(
        default=0.0,
        ge=0,
        le=MOST_PSF_PX,
        description="Gaussian point spread of the detector, standard deviation, pixels; with update_detector_psf the"
        " start",
    )
    detector_psf: str | None = Field(
        default=None,
        description="npy file of the detector's point spread (rows, columns), its middle on pixel n // 2, in the axes"
        " of the patterns after detector_transform",
    )
    source_blur_A: float = Field(
        default=0.0,
        ge=0,
        le=1e3,
        description="Gaussian source, standard deviation, Å: every mode of the probe is blurred by it, whatever it is"
        " refined to (source_size_A only shapes the start)",
    )
    fly_scan_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="way of the beam while a pattern is exposed, as a share of the step along the fast axis; 1: a beam"
        " that never stops",
    )
    opr_components: int = Field(
        default=0,
        ge=0,
        le=8,
        description="components by which the probe's first mode varies from pattern to pattern (orthogonal probe"
        " relaxation), refined with a coefficient for each pattern",
    )
    field_order: int = Field(
        default=0,
        ge=0,
        le=4,
        description="order of the polynomials of the position by which field_terms vary, refined; 0: they do not",
    )
    field_terms: Annotated[tuple[FieldTerm, ...], Field(min_length=1)] = Field(
        default=("C10",),
        description="what varies over the field: aberrations by Krivanek's names; tilts, before or behind the specimen"
        " as tilt_mode says; thickness, the distances of all slices by one factor",
    )
