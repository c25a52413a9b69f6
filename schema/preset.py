"""What a refinement is asked to do: PyPty's names with the unit appended, every value with its range (contract, 3)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import StrictModel

Auto = Literal["auto"]
Counts = Annotated[float, Field(ge=0)]
StepFactor = Annotated[float, Field(gt=0, le=2)]
Repeats = Annotated[int, Field(ge=0, le=100_000)]


class Preset(StrictModel):
    """Settings of one refinement. ``auto`` is chosen from the data, and the choice is stated with its reason."""

    num_slices: int = Field(default=1, ge=1, le=1000, description="slices of the object along the beam")
    total_thickness_A: float | None = Field(
        default=None, gt=0, description="thickness of the object, Å: num_slices times the distance between slices"
    )
    slice_distances_A: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        default=None, description="distance between slices, Å: one for all, or num_slices - 1 of them"
    )
    algorithm: Literal["auto", "lsq_sqrt", "ml", "lsq", "lsq_sqrt_2"] = Field(
        default="auto",
        description="data term: least squares of amplitudes, Poisson likelihood, least squares of counts, chi squared",
    )
    loss_offset: Counts | Auto = Field(
        default="auto", description="counts added to data and model under the square root of lsq_sqrt"
    )
    loss_floor: Annotated[float, Field(gt=0)] | Auto = Field(
        default="auto", description="counts added to the model inside the logarithm of ml"
    )
    epoch_max: Annotated[int, Field(ge=1, le=100_000)] | Auto = Field(
        default="auto", description="epochs in all: mini-batch sweeps first, L-BFGS steps after them"
    )
    sweeps: Repeats | Auto = Field(
        default="auto", description="mini-batch sweeps before L-BFGS; auto leaves at least a third of the epochs to it"
    )
    early_stop: bool = Field(
        default=False,
        description="8 to 16 sweeps: end them when the loss of 5 % of the patterns, held out, falls by < 0.05 % in one",
    )
    probe_sweeps: Repeats | Auto = Field(default="auto", description="first sweeps that move the probe only")
    batch_size: Annotated[int, Field(ge=1)] | Auto = Field(default="auto", description="patterns in a mini-batch")
    sweep_step: StepFactor | Auto = Field(
        default="auto", description="step of the object in a sweep, as a fraction of the Newton step"
    )
    probe_step: Annotated[float, Field(ge=0, le=2)] | Auto = Field(
        default="auto", description="step of the probe in a sweep, as a fraction of the Newton step"
    )
    anchor: Annotated[float, Field(ge=0, le=100)] | Auto = Field(
        default="auto", description="pull of L-BFGS towards the sweeps' result, as a share of the curvature; 0: none"
    )
    hist_length: int = Field(default=10, ge=0, le=100, description="pairs kept by L-BFGS; 0: scaled steepest descent")
    wolfe_c1_constant: float = Field(default=1e-4, gt=0, lt=0.5, description="sufficient decrease asked of a step")
    wolfe_c2_constant: float = Field(default=0.9, gt=0, lt=1, description="weak curvature condition on a step")
    max_count: int = Field(default=8, ge=1, le=100, description="evaluations in one line search, at most")
    update_obj: bool = Field(default=True, description="refine the object")
    update_probe: bool = Field(default=True, description="refine the probe")
    phase_only_obj: bool | Auto = Field(default="auto", description="object of modulus 1: only its phase is refined")
    non_negative_phase: bool | Auto = Field(
        default="auto", description="hold the phase at or above 0, the vacuum (phase_only_obj only)"
    )
    bright_field_only: bool | Auto = Field(
        default="auto", description="compare inside the bright-field disc only (up to 1.05 semi-angles)"
    )
    weakly_damped_obj: bool = Field(
        default=False, description="object exp(i phi - a) with a small absorption a at or above 0"
    )
    obj_modes: int = Field(default=1, ge=1, le=16, description="states of the object, averaged incoherently")
    probe_part: Literal["both", "phase", "amplitude"] = Field(
        default="both", description="what of the probe is refined, in the aperture plane"
    )
    scan_defocus: bool | Auto = Field(
        default="auto", description="find the defocus by short trials first; auto: where it was only estimated"
    )
    scan_thickness: bool = Field(default=False, description="find the thickness by short trials first")
    scan_rotation: bool = Field(default=False, description="find a rotation of the scan by short trials first")
    refine_drift: bool = Field(
        default=False,
        description="fit drift before the reconstruction, and apply it where it is certain (one slice, regular scans)",
    )
    update_probe_pos: bool = Field(
        default=False, description="refine every position; position_bound_A in the result says whether the data can"
    )
    position_prior_A: float | None = Field(
        default=None, gt=0, description="expected deviation of a position from nominal, Å: holds refined positions near"
    )
    fast_axis_reg_weight_positions: float = Field(
        default=0.0, ge=0, description="weight of squared second differences of the positions along rows, 1/Å²"
    )
    deformation_reg_weight_positions: float = Field(
        default=0.0, ge=0, description="weight of squared deviations of the positions from an affine grid, 1/Å²"
    )
    update_beam_current: bool = Field(default=False, description="refine the beam current of every pattern")
    update_static_background: bool = Field(default=False, description="refine counts common to all patterns")
    update_slice_distances: bool = Field(default=False, description="refine the distances between slices")
    update_aberrations: bool = Field(
        default=False, description="refine defocus and astigmatism (C10, C12a, C12b) of the probe"
    )
    probe_modes: Annotated[int, Field(ge=1, le=16)] | Auto = Field(
        default="auto", description="coherent modes of the probe, from source size and focal spread"
    )
    source_size_A: float = Field(default=0.3, ge=0, description="Gaussian source, standard deviation, Å")
    focal_spread_A: float = Field(default=20.0, ge=0, description="Gaussian focal spread, standard deviation, Å")
    start_from_map: bool | Auto = Field(default="auto", description="start from the live phase map, where one is given")
    window_px: Annotated[int, Field(ge=8, le=4096)] | Auto = Field(
        default="auto", description="pixels of the modelled pattern; auto: the detector, padded to a fast size"
    )
    seed: int = Field(default=0, ge=0, description="seed of the order of the patterns in the sweeps")

    @model_validator(mode="after")
    def _something_moves(self) -> Self:
        if not (self.update_obj or self.update_probe):
            raise ValueError("update_obj and update_probe are both off: nothing would be refined")
        return self

    @model_validator(mode="after")
    def _one_kind_of_object(self) -> Self:
        if self.weakly_damped_obj and self.phase_only_obj is True:
            raise ValueError("weakly_damped_obj and phase_only_obj exclude each other")
        if (self.update_slice_distances or self.scan_thickness) and self.num_slices == 1:
            raise ValueError("update_slice_distances and scan_thickness need num_slices of at least 2")
        return self

    @model_validator(mode="after")
    def _thickness_known(self) -> Self:
        if self.slice_distances_A is not None and len(self.slice_distances_A) not in (1, self.num_slices - 1):
            raise ValueError(
                f"slice_distances_A has {len(self.slice_distances_A)} values: give one, or num_slices - 1"
                f" = {self.num_slices - 1}"
            )
        if self.num_slices > 1 and self.total_thickness_A is None and self.slice_distances_A is None:
            raise ValueError(f"num_slices = {self.num_slices} needs total_thickness_A or slice_distances_A")
        return self

    @property
    def spacings_A(self) -> tuple[float, ...]:
        """Free space behind each slice but the last, Å: num_slices - 1 values."""
        gaps = self.num_slices - 1
        if self.slice_distances_A is not None:
            return self.slice_distances_A if len(self.slice_distances_A) == gaps else self.slice_distances_A * gaps
        return ((self.total_thickness_A or 0.0) / self.num_slices,) * gaps

    @property
    def slice_thickness_A(self) -> tuple[float, ...]:
        """Thickness of each slice, Å; 0 for a single slice of unknown thickness."""
        if self.num_slices == 1:
            return (self.total_thickness_A or sum(self.slice_distances_A or ()),)
        return (*self.spacings_A, self.spacings_A[-1])

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Preset:
        """A preset from names and values as people write them; MetadataError names the field and the remedy."""
        for name in values:
            if name not in cls.model_fields:
                near = difflib.get_close_matches(name, cls.model_fields, n=1)
                raise MetadataError(
                    f"unknown refinement setting {name!r}",
                    f"did you mean {near[0]!r}?" if near else "docs/refinement.md lists the settings",
                )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"][:1])
            message = first["msg"].removeprefix("Value error, ")
            raise MetadataError(
                f"refinement setting {field}: {message}" if field else f"refinement settings: {message}",
                "correct the value or leave it out",
            ) from None
