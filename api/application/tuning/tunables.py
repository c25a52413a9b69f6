"""Values that can be tuned: of the optics and the scan, and settings of the refinement, by the names people type."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ptylive.application.extensions import Preset
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.results.curve import Scanned
from ptylive.engine.refine.tuning.parameter_search import varied
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import MetadataError, Origin, Quantity
from ptylive.schema.errors import brief, did_you_mean
from ptylive.schema.optics import ABERRATION_NAMES
from ptylive.schema.preset.describe import unit_of

DEFOCUS, SEMIANGLE, ROTATION, SCALE = "defocus_A", "convergence_semiangle_mrad", "rotation_deg", "scan_scale"
TILTS = ("tilt_row_mrad", "tilt_col_mrad")
THICKNESS, SLICES = "total_thickness_A", "num_slices"
PIXEL = "detector_pixel_invA"
ABERRATIONS = tuple(name for name in ABERRATION_NAMES if name != "C10")
OPTICS: Mapping[str, str] = MappingProxyType(
    {DEFOCUS: "Å", SEMIANGLE: "mrad", ROTATION: "°", SCALE: "", **dict.fromkeys(ABERRATIONS, "Å")}
)
"""Values of the experiment, and their units."""
SPELLINGS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "defocus": (DEFOCUS,),
        "thickness": (THICKNESS,),
        "slices": (SLICES,),
        "semi-angle": (SEMIANGLE,),
        "semiangle": (SEMIANGLE,),
        "rotation": (ROTATION,),
        "scale": (SCALE,),
        "tilt": TILTS,
        "astigmatism": ("C12a", "C12b"),
        "coma": ("C21a", "C21b"),
        "Cs": ("C30",),
        "Cs_A": ("C30",),
        "modes": ("probe_modes",),
    }
)
"""Other spellings that people type."""
TITLES: Mapping[str, str] = MappingProxyType(
    {
        DEFOCUS: "defocus",
        SEMIANGLE: "semi-angle",
        ROTATION: "rotation",
        SCALE: "scan_scale",
        THICKNESS: "thickness",
        TILTS[0]: "tilt (rows)",
        TILTS[1]: "tilt (columns)",
    }
)
"""Names used in sentences; all others appear under their own name."""
SAME_MEASURE = frozenset({"object", "probe", "propagation", "instrument", "refined", "regularisers"})
"""Groups of settings that do not change how the loss of held-out patterns is defined."""
NO_PART = frozenset({"solver", "start"})
"""Groups of settings that trials set themselves."""
OF_PATTERNS = frozenset({"opr_components"})
"""Settings that give each pattern parameters of its own, which a held-out pattern does not get."""


class Kind(StrEnum):
    """Kind of a value."""

    NUMBER = "number"
    WHOLE = "whole number"
    CHOICE = "choice"


@dataclass(frozen=True)
class Tunable:
    """A value that can be tuned. ``name``: as in presets and metadata."""

    name: str
    kind: Kind = Kind.NUMBER
    choices: tuple[Any, ...] = ()

    @property
    def title(self) -> str:
        """Name used in sentences."""
        return TITLES.get(self.name, self.name)

    @property
    def unit(self) -> str:
        """Unit of the values; empty for pure numbers and words."""
        unit = OPTICS[self.name] if self.name in OPTICS else "mrad" if self.name in TILTS else unit_of(self.name)
        return "" if unit == "1" else unit


def tunables(typed: str, judge: Judge) -> tuple[Tunable, ...]:
    """The tunables that a typed name means, several for a vector. Raises MetadataError for an unknown name."""
    names = SPELLINGS.get(typed) or SPELLINGS.get(typed.replace("_", "-")) or (typed.replace("-", "_"),)
    return tuple(_tunable(name, typed, judge) for name in names)


def _tunable(name: str, typed: str, judge: Judge) -> Tunable:
    if name in OPTICS or name in TILTS:
        return Tunable(name)
    groups = {each: title for title, group in Preset.full().groups().items() for each in group.model_fields}
    if name not in groups:
        example = f"for example {', '.join([*SPELLINGS][:4])}, or a setting"
        hint = did_you_mean(typed, [*SPELLINGS, *OPTICS, *TILTS, *groups], example)
        raise MetadataError(f"{brief(typed)} cannot be tuned", hint)
    if groups[name] in NO_PART or name in OF_PATTERNS:
        raise MetadataError(f"{name} has no effect in trials, whose sweeps are all the same", "give it with --set")
    if groups[name] not in SAME_MEASURE and judge is Judge.HELD_OUT:
        raise MetadataError(f"{name} changes what the loss measures, so that losses cannot be compared", "--by halves")
    kind, choices = _kind_of(Preset.full().settings()[name].annotation)
    if kind is None:
        raise MetadataError(f"{name} is neither a number nor a choice of words", "give it with --set")
    return Tunable(name, kind, choices)


def _kind_of(annotation: Any) -> tuple[Kind | None, tuple[Any, ...]]:
    """Kind and choices of a setting from its type; ``auto`` and None are not values to try."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind_of(parts[0])
    if origin in (Union, types.UnionType):
        kinds_found = [_kind_of(part) for part in parts if part is not type(None) and get_args(part) != ("auto",)]
        kinds = dict.fromkeys(kinds_found)
        return next(iter(kinds)) if len(kinds) == 1 else (None, ())
    if origin is Literal:
        return Kind.CHOICE, tuple(part for part in parts if part != "auto")
    plain: dict[Any, tuple[Kind, tuple[Any, ...]]] = {
        bool: (Kind.CHOICE, (False, True)),
        int: (Kind.WHOLE, ()),
        float: (Kind.NUMBER, ()),
    }
    return plain.get(annotation, (None, ()))


def present(name: str, dataset: Dataset, preset: Preset) -> Any:
    """The present value in data set and preset; None if there is none."""
    if name == DEFOCUS:
        return -float(dataset.calibration.aberrations.get("C10", 0.0)) + 0.0
    if name in ABERRATIONS:
        return float(dataset.calibration.aberrations.get(name, 0.0))
    if name == SEMIANGLE:
        return float(dataset.calibration.require(name, "tuning the semi-angle"))
    if name in (ROTATION, SCALE):
        return dataset.calibration.rotation_deg if name == ROTATION else 1.0
    if name in TILTS:
        return _tilt(preset)[2 + TILTS.index(name)]
    if name == THICKNESS:
        thickness = float(sum(preset.object.slice_thickness_A))
        return thickness or None
    found = preset.value(name)
    return None if found == "auto" else found


def uncertainty(name: str, dataset: Dataset) -> float | None:
    """Uncertainty of an estimated value; None if the value was given, or its uncertainty is unknown."""
    entry = dataset.calibration.entries.get("C10" if name == DEFOCUS else name)
    return None if entry is None or entry.origin is not Origin.ESTIMATED else entry.uncertainty


def applied(dataset: Dataset, preset: Preset, values: Mapping[str, Any]) -> tuple[Dataset, Preset]:
    """Return data set and preset with other values. Raises MetadataError for impossible ones."""
    for name in (ROTATION, SCALE):
        if name in values:
            change = float(values[name]) - (dataset.calibration.rotation_deg if name == ROTATION else 0.0)
            dataset, preset = varied(dataset, preset, Scanned.ROTATION if name == ROTATION else Scanned.SCALE, change)
    dataset = replace(dataset, calibration=dataset.calibration.having(**_calibrated(dataset, values)))
    settings = settings_of(preset, values)
    return dataset, Preset.from_mapping({**preset.model_dump(), **settings}) if settings else preset


def _calibrated(dataset: Dataset, values: Mapping[str, Any]) -> dict[str, Quantity]:
    quantities = {name: Quantity(float(values[name]), Origin.GIVEN) for name in ABERRATIONS if name in values}
    if DEFOCUS in values:
        quantities["C10"] = Quantity(-float(values[DEFOCUS]), Origin.GIVEN)
    if SEMIANGLE in values:
        calibration = dataset.calibration
        quantities[SEMIANGLE] = Quantity(float(values[SEMIANGLE]), Origin.GIVEN)
        if (
            calibration.origin(PIXEL) is Origin.ESTIMATED
        ):  # estimated from the radius of the disc, so it scales with the semi-angle
            factor = float(values[SEMIANGLE]) / float(calibration.require(SEMIANGLE, "tuning the semi-angle"))
            quantities[PIXEL] = Quantity(factor * float(calibration.get(PIXEL)), Origin.ESTIMATED)
    return quantities


def settings_of(preset: Preset, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a refinement equivalent to ``values``, without those that belong to the optics."""
    settings = {name: value for name, value in values.items() if name not in OPTICS and name not in TILTS}
    if any(name in values for name in TILTS):
        tilt = list(_tilt(preset))
        for index, name in enumerate(TILTS, 2):
            tilt[index] = float(values.get(name, tilt[index]))
        settings["tilts_mrad"] = (tuple(tilt),)
    if THICKNESS in values or SLICES in values:
        settings["slice_distances_A"] = None
        settings.setdefault(THICKNESS, float(sum(preset.object.slice_thickness_A)) or None)
    return settings


def metadata_of(dataset: Dataset, values: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata equivalent to ``values``, under the names of docs/conventions.md."""
    corrections: dict[str, Any] = {
        name: float(value) for name, value in values.items() if name in OPTICS and name != SCALE
    }
    if SCALE in values:
        steps = dataset.calibration.require("scan_step_A", "tuning the scale of the scan")
        corrections["scan_step_A"] = [float(values[SCALE]) * float(step) for step in steps]
    return corrections


def _tilt(preset: Preset) -> tuple[float, ...]:
    tilts = preset.propagation.tilts_mrad
    return tilts[0] if tilts else (0.0,) * 6


def order_length_A(name: str, wavelength_A: float, semiangle_mrad: float) -> float:
    """Coefficient (Å) of an aberration at which its phase at the edge of the aperture is pi."""
    order = 1 if name == DEFOCUS else int(name[1])
    return (order + 1) / 2 * wavelength_A / (1e-3 * semiangle_mrad) ** (order + 1) if semiangle_mrad else math.nan
