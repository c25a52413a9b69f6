"""The probe a refinement starts from, and the patterns it looks at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.sequence import check_sequence

Order = Annotated[int, Field(ge=1, le=8)]


class Illumination(StrictModel):
    """Settings of a refinement: the start of the probe, and the patterns used."""

    start_map: Literal["obf", "wdd_phase", "tcbf", "idpc"] = Field(
        default="obf", description="the live map that start_from_map means; of tcbf half the relative contrast is taken"
    )
    probe_amplitude: Literal["aperture", "mean_pattern", "vacuum_pattern"] = Field(
        default="aperture", description="amplitude of the start probe: a soft disc, or the root of a measured pattern"
    )
    start_object: str | None = Field(
        default=None, description="object to start from: a results file, or PyPty's npy (Y, X, slices, modes)"
    )
    start_probe: str | None = Field(
        default=None,
        description="probe to start from, real space: npy (modes, P, P), PyPty's (P, P, modes), or a results file",
    )
    aperture_mask: str | None = Field(
        default=None, description="npy file (window_px, window_px): aperture of the start probe, its amplitude"
    )
    bright_threshold: float | None = Field(
        default=None, gt=0, lt=1, description="aperture of the start probe: mean counts above this share of the largest"
    )
    estimate_aperture_based_on_binary: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="aperture of the start probe: mean counts above so many times their mean",
    )
    extra_probe_defocus_A: float = Field(
        default=0.0, ge=-1e6, le=1e6, description="defocus added to the start probe, Å, underfocus positive"
    )
    beam_ctf: str | None = Field(
        default=None,
        description="npy file of a phase chi (window_px, window_px), rad: the start probe is turned by exp(-i chi)",
    )
    n_hermite_probe_modes: tuple[Order, Order] | None = Field(
        default=None, description="probe modes by Hermite polynomials: orders along rows and columns"
    )
    defocus_spread_modes_A: Annotated[tuple[float, ...], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="probe modes by defoci added to the start probe, Å, underfocus positive"
    )
    sequence: str | None = Field(
        default=None, description="patterns used, in acquisition order: ranges such as 0:1000:2, 1500; or an npy file"
    )
    use_full_FOV: bool = Field(
        default=True, description="the object holds all patterns, also those that sequence leaves out"
    )

    extra_space_on_side_px: int = Field(
        default=0, ge=0, le=10_000, description="object pixels around those that the patterns see"
    )

    @field_validator("sequence", mode="before")
    @classmethod
    def _readable_sequence(cls, value: object) -> object:
        return check_sequence(value)
