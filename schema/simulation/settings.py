"""All settings of a simulation as one record: read from TOML, command lines and Python, written as JSON."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from ptylive.schema.errors import MetadataError, brief, did_you_mean, rephrased
from ptylive.schema.model import StrictModel
from ptylive.schema.optics import ABERRATION_NAMES, aberrations_from
from ptylive.schema.plausible import PLAUSIBLE, understood
from ptylive.schema.simulation.groups import (
    DetectorSettings,
    DoseSettings,
    ModelSettings,
    ProbeSettings,
    ScanSettings,
    SpecimenSettings,
    TiltSettings,
)
from ptylive.schema.units import number_and_unit, unit_factor

DEFAULT_DOSE = 1e5
"""Electrons on each Å²."""
_ENDINGS = {"_A": ("length", "Å"), "_mrad": ("angle", "mrad"), "_deg": ("angle", "°"), "_px": ("pixels", "px")}
"""Ending of a name -> kind of the value, unit of a bare number."""
_SPELT: Mapping[str, str] = {"dose_e_per_A2": "1/Å²", "electrons_per_pattern": "electrons", "phase_rad": "rad"}
"""Units that do not follow from an ending."""


class SimulationSettings(StrictModel):
    """Everything a simulated scan depends on."""

    specimen: SpecimenSettings = Field(default_factory=SpecimenSettings)
    probe: ProbeSettings = Field(default_factory=ProbeSettings)
    scan: ScanSettings = Field(default_factory=ScanSettings)
    tilts: TiltSettings = Field(default_factory=TiltSettings)
    detector: DetectorSettings = Field(default_factory=DetectorSettings)
    dose: DoseSettings = Field(default_factory=DoseSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> SimulationSettings:
        """Make settings from names with or without group, values with or without units (``{"energy_eV": "80 keV"}``).

        Groups may be tables, as in TOML. None stands for the default. Raises MetadataError for an unknown name, an
        impossible value, and an odd one without unit.
        """
        found: dict[str, dict[str, Any]] = {group: {} for group in cls.model_fields}
        for group, name, value in _flat(values):
            if name in found[group]:
                raise MetadataError(f"{name} is given twice", f"give it once, in [{group}]")
            if value is not None:
                found[group][name] = _quantity(name, value)
        parts = {group: _checked(group, GROUPS[group], given) for group, given in found.items()}
        return cls(**parts)

    @property
    def aberrations(self) -> dict[str, float]:
        """Krivanek coefficients in Å, without those that are 0."""
        given = {name: value for name, value in self.probe.model_dump().items() if value}
        wanted = {*ABERRATION_NAMES, "defocus_A", "astigmatism_A", "astigmatism_deg", "Cs_A"}
        found = aberrations_from({name: value for name, value in given.items() if name in wanted})
        return {name: value for name, value in found.items() if value}

    @property
    def electrons_per_pattern(self) -> float:
        """Electrons that enter the specimen at each point."""
        if self.dose.electrons_per_pattern is not None:
            return self.dose.electrons_per_pattern
        rows, cols = self.scan.scan_step_A
        return (DEFAULT_DOSE if self.dose.dose_e_per_A2 is None else self.dose.dose_e_per_A2) * rows * cols


GROUPS: dict[str, type[StrictModel]] = {
    "specimen": SpecimenSettings,
    "probe": ProbeSettings,
    "scan": ScanSettings,
    "tilts": TiltSettings,
    "detector": DetectorSettings,
    "dose": DoseSettings,
    "model": ModelSettings,
}
HOMES: dict[str, str] = {name: group for group, kind in GROUPS.items() for name in kind.model_fields}
"""Name of a setting -> its group."""


def located(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under their plain names, as written. Raises MetadataError for unknown ones."""
    return {name: value for _, name, value in _flat(values)}


def unit_of(name: str) -> str:
    """Unit of a bare number; empty for pure numbers and words."""
    if name in _SPELT:
        return _SPELT[name]
    if name in PLAUSIBLE:
        return PLAUSIBLE[name].unit
    return next((unit for ending, (_, unit) in _ENDINGS.items() if name.endswith(ending)), "")


def table() -> str:
    """All settings as Markdown tables, one for each group."""
    parts = []
    for group, kind in GROUPS.items():
        lines = [f"### {group}", "", inspect.getdoc(kind) or "", ""]
        lines += ["| key | default | unit | meaning |", "| --- | --- | --- | --- |"]
        for name, field in kind.model_fields.items():
            lines.append(f"| `{name}` | {_shown(field.get_default())} | {unit_of(name)} | {field.description} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _shown(default: Any) -> str:
    if default is None or default == "":
        return "—"
    if isinstance(default, tuple):
        return ", ".join(_shown(part) for part in default)
    return f"{default:g}" if isinstance(default, float) else str(default).lower()


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(group, name, value) of every setting. Raises MetadataError for an unknown name."""
    out = []
    for key, value in values.items():
        if key in GROUPS and isinstance(value, Mapping):
            out += [(key, _known(f"{key}.{name}"), setting) for name, setting in value.items()]
        else:
            name = _known(str(key))
            out.append((HOMES[name], name, value))
    return out


def _known(key: str) -> str:
    """The name of a setting, optionally preceded by its group. Raises MetadataError."""
    group, _, name = key.rpartition(".")
    if name in HOMES and group in ("", HOMES[name]):
        return name
    if name in HOMES:
        raise MetadataError(f"{brief(key)} is not a simulation setting", f"{name} belongs to [{HOMES[name]}]")
    hint = did_you_mean(name, HOMES, "see docs/simulate.md")
    raise MetadataError(f"unknown setting {brief(key)} of a simulation", hint)


def _quantity(name: str, value: Any) -> Any:
    """A value in the unit of its name. MetadataError for another unit, or a missing one where the value looks wrong."""
    if name in PLAUSIBLE:
        return understood(name, value)
    kind, unit = next((pair for ending, pair in _ENDINGS.items() if name.endswith(ending)), ("number", ""))
    if isinstance(value, list | tuple):
        return [_quantity(name, part) for part in value]
    if isinstance(value, bool) and unit:
        raise MetadataError(f"{name}: {str(value).lower()} is not a number", f"write it in {unit}")
    if not isinstance(value, str):
        return value
    if "," in value:
        return [_quantity(name, part.strip()) for part in value.split(",")]
    read = number_and_unit(value)
    if read is None:
        return value
    number, written = read
    if not written:
        return number
    factor = unit_factor(kind, written)
    if kind == "number":
        return value  # a word that begins with a digit, or a number with a misplaced unit: the field reports it
    if factor is None:
        raise MetadataError(f"{name}: {written[:20]!r} is not a unit of this setting", f"write it in {unit}")
    return number * (factor / (unit_factor(kind, unit) or 1.0))


def _checked(group: str, kind: type[StrictModel], given: Mapping[str, Any]) -> Any:
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([group, *(str(part) for part in first["loc"][:1])])
        text = rephrased(first)
        shown = f" = {brief(first['input'])}" if first["loc"] else ""
        raise MetadataError(f"{place}{shown}: {text}", "correct the value or leave it out (docs/simulate.md)") from None
