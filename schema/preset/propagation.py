"""What light does between source and detector, as the model has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.kinds import Auto

PartNumber = Annotated[int, Field(ge=0, le=4095)]
Marker = (
    Annotated[tuple[PartNumber, ...], Field(min_length=1)]
    | Annotated[str, Field(pattern=r"^(rows|columns):[1-9]\d{0,2}$")]
)
"""Part of the scan each scan point belongs to: a number each, or so many bands of rows or columns (``rows:4``)."""
TiltTangent = Annotated[float, Field(ge=-500, le=500)]
Tilt = Annotated[tuple[TiltTangent, ...], Field(min_length=6, max_length=6)]

Coefficients = Annotated[tuple[float, ...], Field(max_length=len(ABERRATION_NAMES))]


class ForwardModel(StrictModel):
    """Settings of a refinement: what light does between source and detector, as the model has it."""

    num_slices: int = Field(default=1, ge=1, le=1000, description="slices of the object along the beam")
    total_thickness_A: float | None = Field(
        default=None, gt=0, description="thickness of the object, Å: num_slices times the distance between slices"
    )
    slice_distances_A: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, description="distance between slices, Å: one for all, or num_slices - 1 of them"
    )
    propmethod: Literal["multislice", "better_multislice", "yoshida"] = Field(
        default="multislice", description="split step: of first, second or fourth order in the slice thickness"
    )
    obj_modes: int = Field(default=1, ge=1, le=16, description="states of the object, averaged incoherently")
    probe_modes: Annotated[int, Field(ge=1, le=16)] | Auto = Field(
        default="auto", description="coherent modes of the probe, from source size and focal spread"
    )
    source_size_A: float = Field(default=0.3, ge=0, description="Gaussian source, standard deviation, Å")
    focal_spread_A: float = Field(default=20.0, ge=0, description="Gaussian focal spread, standard deviation, Å")
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
    tilts_mrad: Annotated[tuple[Tilt, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="tangents of tilts before, inside and behind the specimen, (row, column) each, mrad: six numbers"
        " for all patterns, or six for each scan point",
    )
    tilt_mode: int = Field(
        default=0, ge=0, le=4, description="tilts used: inside (0, 3, 4), before (2, 4), behind the specimen (1, 3, 4)"
    )
    aberrations_array_A: Annotated[tuple[Coefficients, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="aberrations added to the probe, Å, a list for each part of the scan: C10, C12a, C12b, C21a, …",
    )
    aberration_marker: Marker | None = Field(
        default=None, description="part of the scan for aberrations_array_A of each scan point, or rows:4, columns:4"
    )
    probe_marker: Marker | None = Field(
        default=None, description="probe each scan point was taken with, from 0, or rows:4, columns:4; one probe each"
    )
    phase_plate_in_h5: str | None = Field(
        default=None,
        description="HDF5 file whose data set configs (scan points, P, P) multiplies the probe in the aperture plane",
    )
    damping_cutoff_multislice: float | None = Field(
        default=None, gt=0, le=1, description="band limit of waves and object, share of the largest frequency; none"
    )
    smooth_rolloff: float = Field(default=0.0, ge=0, le=1, description="width of the band limit's edge, same unit")
    update_extra_cut: float = Field(
        default=0.005, ge=0, lt=1, description="the whole object and probe are limited so much closer, same unit"
    )
    lazy_clean: bool = Field(default=False, description="limit waves and windows only, not the whole object and probe")
    recon_type: Literal["far_field", "near_field"] = Field(
        default="far_field", description="near_field: patterns are images (focal series, inline holography)"
    )
    image_pixel_A: float | None = Field(default=None, gt=0, description="pixel of the images, Å (near field)")
    defocus_array_A: tuple[float, ...] | None = Field(
        default=None,
        min_length=1,
        description="defocus of the images, Å, underfocus positive: one for all, or one each (near field)",
    )
    alpha_near_field_mrad: float = Field(
        default=0.0, ge=0, le=100, description="1/e half-width of the incident angles, mrad (near field)"
    )
    noise_weighting: bool = Field(
        default=True, description="lsq_compressed: weigh coefficients by the noise that counting gives them"
    )
    perpendicular_weight: float = Field(
        default=0.0, ge=0, description="weight of the squared length the masks leave out, where it was recorded"
    )
    edge_weight: float = Field(
        default=0.0, ge=0, description="weight of modelled counts where no mask looks (compressed data)"
    )
