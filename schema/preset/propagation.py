"""Wave propagation: between slices, through tilted specimens, to a detector in the far field or to an image; and the
effects of source, scan and detector.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.kinds import listed, rows_listed

TiltTangent = Annotated[float, Field(ge=-500, le=500)]
Tilt = Annotated[tuple[TiltTangent, ...], Field(min_length=6, max_length=6)]
MOST_PSF_PX = 20.0
TILTS, THICKNESS = "tilts", "thickness"


def _known_field_term(name: str) -> str:
    if name not in (TILTS, THICKNESS, *ABERRATION_NAMES):
        allowed = ", ".join((TILTS, THICKNESS, *ABERRATION_NAMES))
        raise ValueError(f"{name!r} cannot vary over the field; known are {allowed}")
    return name


FieldTerm = Annotated[str, AfterValidator(_known_field_term)]


class PropagationSettings(StrictModel):
    """Propagation between slices, tilts, the band limit, and near or far field."""

    propmethod: Literal["multislice", "better_multislice", "yoshida"] = Field(
        default="multislice", description="split step: of first, second or fourth order in the slice thickness"
    )
    tilts_mrad: Annotated[tuple[Tilt, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="tangents of tilts before, inside and behind the specimen, (row, column) each, mrad: six numbers"
        " for all patterns, or six for each scan point",
    )
    tilt_mode: int = Field(
        default=0, ge=0, le=4, description="tilts used: inside (0, 3, 4), before (2, 4), behind the specimen (1, 3, 4)"
    )
    damping_cutoff_multislice: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="band limit of waves and object, as a fraction of the largest frequency; none: no limit",
    )
    smooth_rolloff: float = Field(default=0.0, ge=0, le=1, description="width of the band limit's edge, same unit")
    update_extra_cut: float = Field(
        default=0.005,
        ge=0,
        lt=1,
        description="amount by which the limit of the whole object and probe is lower, same unit",
    )
    lazy_clean: bool = Field(default=False, description="limit waves and windows only, not the whole object and probe")
    recon_type: Literal["far_field", "near_field"] = Field(
        default="far_field", description="near_field: patterns are images (focal series, inline holography)"
    )
    image_pixel_A: float | None = Field(default=None, gt=0, le=1e6, description="pixel of the images, Å (near field)")
    defocus_array_A: tuple[float, ...] | None = Field(
        default=None,
        min_length=1,
        description="defocus of the images, Å, underfocus positive: one for all, or one each (near field)",
    )

    _lists = field_validator("defocus_array_A", mode="before")(listed)
    _rows = field_validator("tilts_mrad", mode="before")(rows_listed)

    alpha_near_field_mrad: float = Field(
        default=0.0, ge=0, le=100, description="1/e half-width of the incident angles, mrad (near field)"
    )

    @property
    def near_field(self) -> bool:
        """Whether the patterns are images."""
        return self.recon_type == "near_field"


class InstrumentSettings(StrictModel):
    """Imperfections that are modelled: off unless they are switched on (docs/forward-model.md)."""

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
        description="Gaussian source, standard deviation, Å: blurs every mode of the probe, however it is"
        " refined to (source_size_A only shapes the start)",
    )
    fly_scan_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="distance the beam moves while a pattern is exposed, as a fraction of the fast axis step; 1: a beam"
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
        description="order of the refined polynomials in the position by which field_terms vary; 0: they do not vary",
    )
    field_terms: Annotated[tuple[FieldTerm, ...], Field(min_length=1)] = Field(
        default=("C10",),
        description="what varies over the field: aberrations by Krivanek's names; tilts, before or behind the specimen"
        " as tilt_mode says; thickness, the distances of all slices by one factor",
    )

    _lists = field_validator("field_terms", mode="before")(listed)
