"""Start of a refinement: the initial object, and what short trials settle beforehand.

The map from which it starts has its own settings (``obf.noise = 3``). The maps define them, and the schema does not
import the maps: code that does registers :func:`read_by`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import StrictModel
from ptylive.schema.preset.kinds import Auto
from ptylive.schema.settings_text import flattened

AMPLITUDES = {"ssb": "ssb_amplitude", "wdd_phase": "wdd_amplitude"}
"""Maps to start from that provide a modulus, and its map."""
MADE_BY = {"wdd_phase": "wdd"}
"""Method of a map to start from, if its name differs."""

NAME = "map_settings"
Read = Callable[[Mapping[str, Any]], tuple[dict[str, float], dict[str, Any]]]
"""Separates settings of maps, checked and under their own names, from other values. Raises MetadataError."""

_reads: list[Read] = []


class StartSettings(StrictModel):
    """The start of the object, and what is determined before the first epoch."""

    start_from_map: bool | Auto = Field(default="auto", description="start from the live phase map, where one is given")
    start_map: Literal["obf", "ssb", "wdd_phase", "tcbf", "idpc"] = Field(
        default="obf", description="live map from which the object starts; of tcbf, half the relative contrast is used"
    )
    start_map_amplitude: bool = Field(
        default=False, description="start from the modulus that goes with start_map too: ssb and wdd_phase have one"
    )
    map_settings: dict[str, float] = Field(
        default={},
        description="settings of start_map under the names that `reconstruct` accepts, METHOD.NAME; each may"
        " also be given"
        " alone: `obf.noise = 3`",
    )
    start_object: str | None = Field(
        default=None,
        description="object to start from, converted to these slices, pixels and modes: a results file of ptylive, "
        "PtyRAD, py4DSTEM, fold_slice, phaser, ptychodus or PyPty, or PyPty's npy",
    )
    start_depth_A: float = Field(
        default=0.0,
        ge=-10_000,
        le=10_000,
        description="Å of vacuum put in front of the initial object (start_object or the previous stage); below"
        " 0: this much"
        " of its front is cut off. The probe that goes with it is propagated accordingly",
    )
    start_phase_image: str | None = Field(
        default=None,
        description="npy image of the phase, rad, to start from: any number of pixels on the field of the scan",
    )
    start_amplitude_image: str | None = Field(
        default=None, description="the same for the modulus, alone or in addition to start_phase_image"
    )
    start_phase_noise_rad: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="random phases, from 0 to this value, added to each initial slice and mode",
    )
    start_positions: str | None = Field(
        default=None,
        description="positions to start from, instead of the nominal ones: a results file, as start_object",
    )
    start_beam_current: str | None = Field(
        default=None,
        description="npy file of beam currents, one for each scan point; held unless update_beam_current refines them",
    )
    start_background: str | None = Field(
        default=None,
        description="npy file (P, P) of counts in every pattern, centred on pixel P // 2; held unless"
        " update_static_background refines them",
    )
    scan_defocus: bool | Auto = Field(
        default="auto",
        description="find the defocus by short trials first; auto: where it was only estimated, or below a given one"
        " if one slice is chosen",
    )
    scan_thickness: bool = Field(default=False, description="find the thickness by short trials first")
    scan_rotation: bool = Field(default=False, description="find a rotation of the scan by short trials first")
    refine_drift: bool | Auto = Field(
        default="auto",
        description="detect a drift of regular scans and correct it; auto: only where it is certain",
    )

    @field_validator("map_settings", mode="before")
    @classmethod
    def _of_maps(cls, values: Any) -> Any:
        try:
            return checked_map_settings(values)
        except MetadataError as error:
            raise ValueError(error.line()) from None

    @model_validator(mode="after")
    def _check_map_settings(self) -> Self:
        method = MADE_BY.get(self.start_map, self.start_map)
        for name in self.map_settings:
            if name.partition(".")[0] != method:
                raise ValueError(f"{name} is set, but the refinement starts from {self.start_map}: set start_map")
        if self.start_map_amplitude and self.start_map not in AMPLITUDES:
            able = " or ".join(AMPLITUDES)
            raise ValueError(
                f"start_map_amplitude is set, but {self.start_map} has no modulus: set start_map to {able}"
            )
        return self

    @model_validator(mode="after")
    def _one_object(self) -> Self:
        if self.start_object is not None and (self.start_phase_image or self.start_amplitude_image):
            raise ValueError("start_object and an image to start from exclude each other")
        return self


def read_by(read: Read) -> None:
    """Register ``read`` to check names and values of settings of maps."""
    _reads[:] = [read]


def gathered(values: Mapping[str, Any], settings: Collection[str]) -> dict[str, Any]:
    """Collect settings of maps under ``map_settings``: METHOD.NAME alone, or tables of a method.

    ``settings``: names that are settings themselves. Raises MetadataError for a setting that a map does not have.
    """
    if not any("." in name or (isinstance(value, Mapping) and name not in settings) for name, value in values.items()):
        return dict(values)
    alone: dict[str, Any] = {}
    tables: dict[str, str] = {}
    for name, value in values.items():
        if "." in name:
            alone[name] = value
        elif isinstance(value, Mapping) and name not in settings:
            alone |= {f"{name}.{key}": item for key, item in value.items()}
            tables |= {f"{name}.{key}": name for key in value}
    of_maps, remaining = _reads[0](alone) if _reads else ({}, alone)
    others = {tables.get(name, name) for name in remaining}
    result = {name: value for name, value in values.items() if name not in tables.values() and name not in alone}
    result |= {name: values[name] for name in others}
    return {**result, NAME: {**dict(values.get(NAME) or {}), **of_maps}} if of_maps else result


def checked_map_settings(values: Any) -> dict[str, Any]:
    """Return settings of maps under their own names. Raises MetadataError for invalid ones."""
    if not isinstance(values, Mapping):
        raise MetadataError(f"{NAME} is {str(values)[:40]!r}", "write METHOD.NAME = NUMBER for each, as obf.noise = 3")
    if not values or not _reads:
        return dict(values)
    of_maps, remaining = _reads[0](flattened(values))
    for name in remaining:
        raise MetadataError(
            f"{NAME} has {str(name)[:40]!r}, which is not a map setting", "write METHOD.NAME, as wdd.epsilon"
        )
    return of_maps
