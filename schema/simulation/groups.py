"""Settings of a simulation, in groups; every name is unique, so that it may be written without its group."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from ptylive.schema.detector import Descan, parse_transform
from ptylive.schema.model import StrictModel
from ptylive.schema.scan import two_whole_numbers

SpecimenKind = Literal[
    "bilayer", "monolayer", "crystal", "atoms", "particles", "gaussians", "circles", "gradient", "vacuum"
]
_ATOMS = {"orientation_deg", "vacancies", "slice_thickness_A", "potential", "configurations", "displacement_A"}
_SHAPES = {"phase_rad", "feature_A", "coverage"}
_POTENTIALS = {"particle_potential_V", "ice_potential_V", "ice_texture"}
MEANINGFUL: dict[str, set[str]] = {
    "bilayer": _ATOMS | {"material", "twist_deg"},
    "monolayer": _ATOMS | {"material"},
    "crystal": _ATOMS | {"material", "thickness_A"},
    "atoms": _ATOMS - {"orientation_deg"} | {"material", "coverage"},
    "particles": _POTENTIALS | {"thickness_A", "slice_thickness_A", "feature_A", "coverage"},
    "gaussians": _SHAPES,
    "circles": _SHAPES,
    "gradient": {"phase_rad", "feature_A", "orientation_deg"},
    "vacuum": set(),
    "structure_file": _ATOMS | {"structure_file", "thickness_A"},
}
"""Settings that have an effect, for each specimen and for files."""
MOST_POINTS = 9
"""Along each axis of source or focus."""


def _pair(value: Any, kind: type[int] | type[float]) -> Any:
    """Two numbers; one stands for both. Anything else is left to the field."""
    if isinstance(value, str) and kind is int:
        return two_whole_numbers(value) or value
    if isinstance(value, list | tuple | np.ndarray):
        numbers = list(np.asarray(value, dtype=object).ravel())
    else:
        numbers = [value]
    if len(numbers) == 1:
        numbers *= 2
    if kind is int:
        numbers = [
            int(n) if isinstance(n, float | np.integer | np.floating) and float(n) == int(n) else n for n in numbers
        ]
    return tuple(numbers)


class SpecimenSettings(StrictModel):
    """The specimen in the beam. Lengths in Å, in the axes of the detector."""

    specimen: SpecimenKind = Field(default="bilayer", description="built-in specimen or test object")
    structure_file: str = Field(
        default="", description="CIF, xyz or another file that ase reads, instead of a built-in specimen"
    )
    material: str = Field(
        default="",
        description="sheets: MoS2, WS2, MoSe2, graphene; crystals: SrTiO3, Si, Au; atoms: an element; empty: the first",
    )
    orientation_deg: float = Field(default=10.0, description="rotation of the lattice about the beam")
    twist_deg: float = Field(default=6.0, description="rotation of the second sheet of a bilayer relative to the first")
    vacancies: float | None = Field(
        default=None,
        ge=0,
        le=0.9,
        description="fraction of the atoms that are left out; none: 0.02 for sheets, otherwise 0",
    )
    thickness_A: float = Field(
        default=100.0, gt=0, le=1e5, description="thickness of crystals and of the ice around particles"
    )
    slice_thickness_A: float | None = Field(
        default=None,
        gt=0.1,
        description="slice thickness along the beam; none: 6 for sheets, 2 for other atoms, 20 for particles,"
        " one slice for the rest",
    )
    phase_rad: float = Field(
        default=0.5, ge=-100, le=100, description="phase of one gaussian or circle; of a gradient over feature_A"
    )
    feature_A: float | None = Field(
        default=None,
        ge=0.01,
        le=1e6,
        description="standard deviation of gaussians, radius of circles and particles, length; none: 2, 5, 30 and 10",
    )
    coverage: float = Field(
        default=0.2, gt=0, le=0.6, description="share of the field under gaussians, circles, particles or atoms"
    )
    particle_potential_V: float = Field(default=7.0, ge=0, le=100, description="mean inner potential of particles")
    ice_potential_V: float = Field(default=4.5, ge=0, le=100, description="mean inner potential of the ice around them")
    ice_texture: float = Field(
        default=0.1, ge=0, le=1, description="spread of the ice's potential over its mean, in cubes of 3 Å"
    )
    potential: Literal["lobato", "abtem"] = Field(
        default="lobato",
        description="potential of atoms: the built-in table, or abTEM's, where it is installed",
    )
    configurations: int = Field(
        default=1, ge=1, le=256, description="frozen phonons: number of averaged configurations"
    )
    displacement_A: float = Field(
        default=0.0, ge=0, le=1, description="frozen phonons: standard deviation of an atom's place along each axis"
    )

    @model_validator(mode="after")
    def _check_effective(self) -> Self:
        """Refuse settings without effect: they must be at their defaults."""
        kind = "structure_file" if self.structure_file else self.specimen
        if kind == "particles" and (self.feature_A or 0) > self.thickness_A / 2:
            raise ValueError("feature_A, the radius of particles, is at most half of thickness_A")
        changed = [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]
        if self.structure_file and "specimen" in changed:
            raise ValueError("structure_file takes the place of a built-in specimen: give one of them")
        useless = sorted(set(changed) - MEANINGFUL[kind] - {"specimen"})
        if useless:
            has = ", ".join(sorted(MEANINGFUL[kind])) or "nothing"
            raise ValueError(f"{useless[0]} has no meaning for {kind}, which has {has}")
        return self


class ProbeSettings(StrictModel):
    """The beam. Aberrations in Å, with names and signs of docs/conventions.md."""

    energy_eV: float = Field(default=80e3, gt=0, description="beam energy")
    convergence_semiangle_mrad: float = Field(default=25.0, gt=0, description="probe semi-angle")
    defocus_A: float = Field(default=100.0, description="positive: underfocus, C10 = -defocus")
    astigmatism_A: float = Field(default=0.0, description="twofold astigmatism")
    astigmatism_deg: float = Field(default=0.0, description="its direction, from the rows' axis to the columns'")
    Cs_A: float = Field(default=0.0, description="spherical aberration C30")
    C12a: float | None = Field(
        default=None, description="instead of astigmatism_A and astigmatism_deg, together with C12b"
    )
    C12b: float | None = Field(default=None, description="see C12a")
    C21a: float = Field(default=0.0, description="coma")
    C21b: float = Field(default=0.0, description="coma")
    C23a: float = Field(default=0.0, description="threefold astigmatism")
    C23b: float = Field(default=0.0, description="threefold astigmatism")
    C32a: float = Field(default=0.0, description="star aberration")
    C32b: float = Field(default=0.0, description="star aberration")
    C34a: float = Field(default=0.0, description="fourfold astigmatism")
    C34b: float = Field(default=0.0, description="fourfold astigmatism")
    source_size_A: float = Field(
        default=0.0, ge=0, description="effective source on the specimen, full width at half maximum of a Gaussian"
    )
    source_points: int = Field(
        default=3, ge=1, le=MOST_POINTS, description="positions along each axis that represent the source"
    )
    focal_spread_A: float = Field(default=0.0, ge=0, description="standard deviation of the defocus")
    focal_points: int = Field(default=3, ge=1, le=MOST_POINTS, description="defoci that represent the focal spread")

    @model_validator(mode="after")
    def _check_consistent(self) -> Self:
        if self.astigmatism_A and (self.C12a is not None or self.C12b is not None):
            raise ValueError("astigmatism_A and C12a, C12b have the same meaning: give one of them")
        if self.source_size_A and self.source_points == 1:
            raise ValueError("source_points = 1 gives no source size: use at least 2")
        if self.focal_spread_A and self.focal_points == 1:
            raise ValueError("focal_points = 1 gives no focal spread: use at least 2")
        return self


class ScanSettings(StrictModel):
    """Where the probe is placed, and when."""

    scan_shape: tuple[int, int] = Field(default=(48, 48), description="scan points (rows, columns)")
    scan_step_A: tuple[float, float] = Field(default=(0.6, 0.6), description="distance between points (row, column)")
    scan_pattern: Literal["raster", "snake"] = Field(default="raster", description="order of the points within rows")
    flyback_frames: int = Field(default=0, ge=0, le=1000, description="frames of each row while the beam returns")
    rotation_deg: float = Field(default=0.0, description="scan axes to detector axes")
    dwell_time_us: float | None = Field(default=None, gt=0, description="time at each point; stored as metadata only")
    position_jitter_A: float = Field(
        default=0.0, ge=0, le=1e6, description="standard deviation of each position along each axis"
    )
    drift_A: tuple[float, float] = Field(
        default=(0.0, 0.0),
        description="steady drift of the scan over the specimen from first to last frame, detector axes",
    )
    line_jump_A: float = Field(
        default=0.0, ge=0, le=1e6, description="standard deviation of a line's displacement along each axis"
    )
    missing_share: float = Field(default=0.0, ge=0, lt=1, description="share of the frames that never arrived")
    gap_frames: int = Field(default=16, ge=1, description="frames of a gap, one after the other")

    @field_validator("scan_shape", mode="before")
    @classmethod
    def _two_counts(cls, value: Any) -> Any:
        return _pair(value, int)

    @field_validator("scan_step_A", "drift_A", mode="before")
    @classmethod
    def _two_lengths(cls, value: Any) -> Any:
        return _pair(value, float)

    @model_validator(mode="after")
    def _check_possible(self) -> Self:
        if min(self.scan_shape) < 1:
            raise ValueError("scan_shape has no points: give ROWS,COLUMNS above 0")
        if min(self.scan_step_A) <= 0:
            raise ValueError("scan_step_A must be above 0")
        if max(map(abs, self.drift_A)) > 1e6:
            raise ValueError("drift_A is at most 1e6 along each axis")
        return self


class TiltSettings(StrictModel):
    """A parallel beam in place of the probe, tilted from point to point of the scan (LARBED, docs/larbed.md)."""

    beam: Literal["probe", "parallel"] = Field(
        default="probe", description="parallel: a tilt series of a crystal; the scan is the raster of its tilts"
    )
    tilt_step_mrad: float = Field(default=4.0, gt=0, le=100, description="distance between tilts of the beam")
    tilt_centre_mrad: tuple[float, float] = Field(
        default=(0.0, 0.0), description="tilt (row, column) in the middle of the raster"
    )
    tilt_rotation_deg: float = Field(default=0.0, description="raster of tilts to detector axes")
    follows_tilt: bool = Field(default=False, description="patterns move with the tilt: they are not de-scanned")
    spot_px: float = Field(default=0.8, ge=0.2, le=100, description="standard deviation of a spot, detector pixels")

    @field_validator("tilt_centre_mrad", mode="before")
    @classmethod
    def _two_angles(cls, value: Any) -> Any:
        return _pair(value, float)


class DetectorSettings(StrictModel):
    """How the electrons are recorded. Positions and shifts in pixels as recorded, (row, column)."""

    detector_shape: tuple[int, int] = Field(default=(64, 64), description="pixels (rows, columns)")
    detector_pixel_mrad: float | None = Field(
        default=None, gt=0, description="angle of a pixel; none: the shorter side reaches two semi-angles"
    )
    beam_offset_px: tuple[float, float] = Field(
        default=(0.0, 0.0), description="offset of the beam from the pixel (rows // 2, columns // 2)"
    )
    detector_transform: str = Field(default="none", description="transform applied to a pattern before it is recorded")
    descan_px: tuple[float, ...] = Field(
        default=(0.0,),
        validate_default=True,
        description="wander of the pattern: 0, four numbers of a plane, or ten of a parabola",
    )
    descan_jump_px: float = Field(
        default=0.0,
        ge=0,
        le=1e3,
        description="standard deviation of a line's displacement on the detector along each axis",
    )
    ellipticity: float = Field(
        default=0.0, gt=-0.5, lt=0.5, description="distortion: long over short axis of a circle, minus 1"
    )
    ellipse_deg: float = Field(default=0.0, description="its long axis, from the rows' axis to the columns'")
    distortion_second: tuple[float, float] = Field(
        default=(0.0, 0.0),
        description="distortion of second order (row, column), as a fraction of half the detector at its edge",
    )
    distortion_third: float = Field(
        default=0.0,
        gt=-0.3,
        lt=0.3,
        description="distortion of third order (barrel, pincushion), fraction at the detector's edge",
    )
    point_spread_px: float = Field(
        default=0.0, ge=0, le=20, description="standard deviation of the place where an electron is counted"
    )
    counts_per_electron: float = Field(default=1.0, gt=0, description="counts one electron leaves")
    gain_spread: float = Field(
        default=0.0, ge=0, le=0.5, description="spread of the pixels' gain about 1; written as gain_reference"
    )
    dark_counts: float = Field(
        default=0.0, ge=0, le=1e9, description="counts of every pixel without a beam; written as dark_reference"
    )
    read_noise_counts: float = Field(default=0.0, ge=0, le=1e9, description="standard deviation of read-out noise")
    saturation_value: float | None = Field(default=None, gt=0, description="largest count that a pixel can record")
    dead_pixels: int = Field(default=0, ge=0, description="pixels that read 0; in the bad-pixel mask")
    hot_pixels: int = Field(default=0, ge=0, description="pixels that are always full; in the bad-pixel mask")
    dtype: Literal["u1", "u2", "u4", "f4"] = Field(default="u2", description="type of a recorded pixel")

    @field_validator("detector_shape", mode="before")
    @classmethod
    def _two_counts(cls, value: Any) -> Any:
        return _pair(value, int)

    @field_validator("beam_offset_px", "distortion_second", mode="before")
    @classmethod
    def _two_numbers(cls, value: Any) -> Any:
        return _pair(value, float)

    @field_validator("descan_px", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("descan_px")
    @classmethod
    def _known_descan(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) not in (1, 4, 10) or (len(value) == 1 and value[0]):
            raise ValueError("descan_px must be 0, the 4 numbers of a plane, or 10")
        return Descan.of(value).numbers

    @field_validator("detector_transform")
    @classmethod
    def _known_words(cls, value: str) -> str:
        parse_transform(value)
        return value

    @model_validator(mode="after")
    def _check_possible(self) -> Self:
        rows, cols = self.detector_shape
        if min(rows, cols) < 4:
            raise ValueError("detector_shape must have at least 4 pixels along each side")
        if max(map(abs, self.distortion_second)) > 0.2:
            raise ValueError("distortion_second is at most 0.2")
        if self.dead_pixels + self.hot_pixels > rows * cols // 4:
            raise ValueError("dead_pixels and hot_pixels are at most a quarter of all")
        return self


class DoseSettings(StrictModel):
    """Number of electrons."""

    dose_e_per_A2: float | None = Field(default=None, gt=0, description="dose of the scan; none: 1e5")
    electrons_per_pattern: float | None = Field(default=None, gt=0, description="instead of dose_e_per_A2")
    poisson: bool = Field(default=True, description="counting noise; without it patterns are mean values")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.dose_e_per_A2 is not None and self.electrons_per_pattern is not None:
            raise ValueError("dose_e_per_A2 and electrons_per_pattern have the same meaning: give one of them")
        return self


class ModelSettings(StrictModel):
    """Accuracy of the computation, random numbers, and contents of the file's metadata."""

    seed: int = Field(default=1, ge=0, lt=2**63, description="seed of all random numbers: the same seed, the same file")
    oversampling: int = Field(
        default=1,
        ge=1,
        le=8,
        description="model points per pixel along each axis; its real-space window grows accordingly",
    )
    reach: float = Field(
        default=2.0, ge=1, le=8, description="highest frequency of the model relative to the detector's edge"
    )
    tell: Literal["everything", "microscope"] = Field(
        default="everything",
        description="metadata of the file: all nominal values, or only energy, aperture, scan and the detector's pixel",
    )
