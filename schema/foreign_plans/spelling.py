"""Metadata under the names used by py4DSTEM and PyPty, for users of these programs: ``force_com_rotation=15``.

Differences beyond the name (a sign, kV, a word) are converted; docs/coming-from explains them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ptylive.schema.errors import MetadataError, brief


class Meant(NamedTuple):
    """Our name, and the conversion of their value to ours."""

    name: str
    value: Callable[[str, Any], Any]


def _unchanged(_name: str, value: Any) -> Any:
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(f"{name} = {brief(value)} is not a number", f"give a number, or {OTHER_NAMES[name].name}")
    return float(value)


def _opposite(name: str, value: Any) -> float:
    return -_number(name, value)


def _from_kilovolts(name: str, value: Any) -> float:
    return 1e3 * _number(name, value)


def _transposed(name: str, value: Any) -> str:
    if not isinstance(value, bool):
        raise MetadataError(f"{name} = {brief(value)} is neither true nor false", "or give detector_transform")
    return "transpose" if value else "none"


OTHER_NAMES: Mapping[str, Meant] = {
    "energy": Meant("energy_eV", _unchanged),
    "acc_voltage": Meant("energy_eV", _from_kilovolts),
    "semiangle_cutoff": Meant("convergence_semiangle_mrad", _unchanged),
    "conv_semiangle_mrad": Meant("convergence_semiangle_mrad", _unchanged),
    "rez_pixel_size_A": Meant("detector_pixel_invA", _unchanged),
    "rez_pixel_size_mrad": Meant("detector_pixel_mrad", _unchanged),
    "scan_size": Meant("scan_shape", _unchanged),
    "PLRotation_deg": Meant("rotation_deg", _opposite),
    "force_com_rotation": Meant("rotation_deg", _opposite),
    "force_rotation_deg": Meant("rotation_deg", _opposite),
    "force_com_transpose": Meant("detector_transform", _transposed),
    "vacuum_probe_intensity": Meant("vacuum_pattern", _unchanged),
}
"""Names of metadata in other programs."""


def in_our_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under our names. Raises MetadataError for a value given under two names, or of the wrong kind."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        meant = OTHER_NAMES.get(name)
        own, converted = (name, value) if meant is None else (meant.name, meant.value(name, value))
        if own in out:
            raise MetadataError(f"{own} is given twice", f"leave {name} or its other name out")
        out[own] = converted
    return out
