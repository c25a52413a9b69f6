"""The illumination: its coherence, its parts over the scan, and the initial probe of a refinement."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.kinds import Auto, listed, rows_listed

Order = Annotated[int, Field(ge=1, le=8)]
PartNumber = Annotated[int, Field(ge=0, le=4095)]
_DIVISION = re.compile(r"(scans|(rows|columns|squares):[1-9]\d{0,2})")


def _check_division(value: object) -> object:
    """Return the value; raises ValueError for a text that says no division."""
    if isinstance(value, str) and not _DIVISION.fullmatch(value):
        raise ValueError(f"{value!r} divides no scan: write rows:4, columns:4, squares:20, scans or a list of numbers")
    return value


Marker = Annotated[
    Annotated[tuple[PartNumber, ...], Field(min_length=1)] | Annotated[str, Field(pattern=f"^{_DIVISION.pattern}$")],
    BeforeValidator(_check_division),
]
"""Part of the scan each scan point belongs to: a number each, bands of rows or columns (four: ``rows:4``), squares of
points given by their side (``squares:20``), or the scans that are refined together (``scans``).
"""
LARGEST_SOURCE_A, LARGEST_FOCAL_SPREAD_A = 1e4, 1e5
"""Larger than of any microscope: those values were meant in another unit."""
Coefficients = Annotated[tuple[float, ...], Field(max_length=len(ABERRATION_NAMES))]


class ProbeSettings(StrictModel):
    """The probe: modes, aberrations, parts of the scan with separate probes, and its start."""

    probe_modes: Annotated[int, Field(ge=1, le=16)] | Auto = Field(
        default="auto", description="coherent modes of the probe, from source size and focal spread"
    )
    source_size_A: Annotated[float, Field(ge=0, le=LARGEST_SOURCE_A)] | Auto = Field(
        default="auto", description="Gaussian source, standard deviation, Å"
    )
    focal_spread_A: float = Field(
        default=20.0, ge=0, le=LARGEST_FOCAL_SPREAD_A, description="Gaussian focal spread, standard deviation, Å"
    )
    probe_part: Literal["both", "phase", "amplitude"] = Field(
        default="both", description="part of the probe that is refined, in the aperture plane"
    )
    probe_marker: Marker | None = Field(
        default=None,
        description="number of each scan point's probe, from 0, or rows:4, columns:4, squares:20 (points a"
        " side), scans",
    )
    aberrations_array_A: Annotated[tuple[Coefficients, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="aberrations added to the probe, Å, a list for each part of the scan: C10, C12a, C12b, C21a, …",
    )
    aberration_marker: Marker | None = Field(
        default=None,
        description="part of the scan (aberrations_array_A) of each point, or rows:4, columns:4, squares:20, scans",
    )
    phase_plate_in_h5: str | None = Field(
        default=None,
        description="HDF5 file whose data set configs (scan points, P, P) multiplies the probe in the aperture plane",
    )
    probe_amplitude: Literal["aperture", "mean_pattern", "vacuum_pattern"] = Field(
        default="aperture", description="amplitude of the start probe: a soft disc, or the root of a measured pattern"
    )
    start_probe: str | None = Field(
        default=None,
        description="probe to start from, real space: npy (modes, P, P), PyPty's (P, P, modes), or a results file, as "
        "start_object",
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
        description="aperture of the start probe: mean counts above this multiple of their mean",
    )
    extra_probe_defocus_A: float = Field(
        default=0.0, ge=-1e6, le=1e6, description="defocus added to the start probe, Å, underfocus positive"
    )
    beam_ctf: str | None = Field(
        default=None,
        description="npy file of a phase chi (window_px, window_px), rad: the start probe is multiplied by exp(-i chi)",
    )
    n_hermite_probe_modes: tuple[Order, Order] | None = Field(
        default=None, description="probe modes made of Hermite polynomials: orders along rows and columns"
    )
    defocus_spread_modes_A: Annotated[tuple[float, ...], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="probe modes made by defoci added to the start probe, Å, underfocus positive"
    )

    _lists = field_validator("defocus_spread_modes_A", mode="before")(listed)
    _rows = field_validator("aberrations_array_A", mode="before")(rows_listed)
