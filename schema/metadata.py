"""The single table of metadata names: meaning of an attribute, a TOML key or a `--set` key (docs/conventions.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import numpy as np
from pydantic import ValidationError

from ptylive.schema.detector import GIVEN_ARRAYS, REFERENCES, Detector
from ptylive.schema.errors import MetadataError, did_you_mean, rephrased
from ptylive.schema.optics import ABERRATION_NAMES, Optics, aberrations_from
from ptylive.schema.plausible import PLAUSIBLE, question, understood
from ptylive.schema.scan import Scan
from ptylive.schema.scan_header import ScanHeader

SECTIONS: dict[str, type[Scan] | type[Optics] | type[Detector]] = {"scan": Scan, "optics": Optics, "detector": Detector}

NAMES: dict[str, tuple[str, str]] = {
    "scan_shape": ("scan", "shape"),
    "scan_step_A": ("scan", "step_A"),
    "field_of_view_A": ("scan", "field_of_view_A"),
    "scan_pattern": ("scan", "pattern"),
    "scan_matrix": ("scan", "matrix"),
    "flyback_frames": ("scan", "flyback_frames"),
    "skip_first": ("scan", "skip_first"),
    "repeats": ("scan", "repeats"),
    "rotation_deg": ("scan", "rotation_deg"),
    "dwell_time_us": ("scan", "dwell_time_us"),
    "beam_current": ("scan", "beam_current"),
    "energy_eV": ("optics", "energy_eV"),
    "convergence_semiangle_mrad": ("optics", "convergence_semiangle_mrad"),
    "depth_A": ("optics", "depth_A"),
    "defocus_A": ("optics", "defocus_A"),
    "astigmatism_A": ("optics", "astigmatism_A"),
    "astigmatism_deg": ("optics", "astigmatism_deg"),
    "Cs_A": ("optics", "Cs_A"),
    **{name: ("optics", name) for name in ABERRATION_NAMES},
    "detector_pixel_mrad": ("detector", "pixel_mrad"),
    "detector_pixel_invA": ("detector", "pixel_invA"),
    "beam_center_px": ("detector", "beam_center_px"),
    "descan_px": ("detector", "descan_px"),
    "distortion": ("detector", "distortion"),
    "detector_transform": ("detector", "transform"),
    "counts_per_electron": ("detector", "counts_per_electron"),
    "saturation_value": ("detector", "saturation_value"),
    "cluster_time_us": ("detector", "cluster_time_us"),
}
"""Attribute name in a file -> (section, key) on the wire and in the configuration."""

_FLAT = {place: name for name, place in NAMES.items()}
"""Section and key -> flat name."""

PIXEL_NAMES, PIXEL_KEYS = ("detector_pixel_mrad", "detector_pixel_invA"), ("pixel_mrad", "pixel_invA")
ONE_COEFFICIENT = (("defocus_A", "C10"), ("astigmatism_A", "C12a"), ("astigmatism_A", "C12b"))
SAME = (*ONE_COEFFICIENT, ("scan_step_A", "field_of_view_A"), PIXEL_NAMES)
"""Two names of one quantity, of which people give one; files contain both of the last pair."""
STEP_NAMES = ("scan_step_A", "field_of_view_A", "scan_matrix")
"""Names of one quantity: whichever of them is given last counts."""
FILE_ARRAYS = ("bad_pixel_mask", "positions_A", "vacuum_pattern", *REFERENCES)
"""Arrays stored in a file in addition to its attributes."""
SAME_VALUE = 1e-3
"""Difference up to which two values of a quantity are the same, relative or in its unit."""
LEAST_BEGINNING, ALIKE = 6, 0.8
"""Letters of an abbreviated name, and similarity of a misspelt one, from which the name is recognised."""
MASKS = "masks"
"""Virtual detectors (K, Qy, Qx), whose readings a recording holds in place of patterns."""
ARRAY_NAMES = (*FILE_ARRAYS, MASKS)


def locate(name: str) -> tuple[str, str]:
    """Section and key of a flat (`energy_eV`) or dotted (`optics.energy_eV`) name; MetadataError if there is none."""
    if name in NAMES:
        return NAMES[name]
    section, _, key = name.partition(".")
    if section in SECTIONS and key:
        key = NAMES[key][1] if key in NAMES and NAMES[key][0] == section else key
        if (section, key) in NAMES.values():
            return section, key
    if array_name(name) is not None:
        raise MetadataError(f"{name} is a file or an array, not a number", "give it at the start of the program")
    known = [*NAMES, *GIVEN_ARRAYS, MASKS, *(f"{s}.{k}" for s, k in NAMES.values())]
    raise MetadataError(f"unknown setting {name!r}", did_you_mean(name, known, "see docs/conventions.md"))


def nearest_name(name: str) -> str | None:
    """The flat name that an unknown name nearly is (``scan_stepA``) or abbreviates (``defocus``); None for others."""
    if name in NAMES:
        return None
    beginnings = [known for known in NAMES if len(name) >= LEAST_BEGINNING and known.lower().startswith(name.lower())]
    return next(iter([*beginnings, *get_close_matches(name, NAMES, n=1, cutoff=ALIKE)]), None)


def array_name(name: str) -> str | None:
    """The detector array that a flat (``dark_reference``) or dotted (``detector.…``) name means; None: none."""
    flat = name.removeprefix("detector.")
    return flat if flat in (*GIVEN_ARRAYS, MASKS) else None


def arrays_and_numbers(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split metadata: arrays of the detector (or their files) under flat names, and everything else.

    Raises MetadataError where an array is given under two names.
    """
    arrays: dict[str, Any] = {}
    for name, value in values.items():
        if (flat := array_name(name)) is None:
            continue
        if flat in arrays:
            raise MetadataError(f"{flat} is given twice", f"give {flat} or detector.{flat}")
        arrays[flat] = value
    return arrays, {name: value for name, value in values.items() if array_name(name) is None}


def flat_name(name: str) -> str:
    """The flat name (`scan_step_A`) of a flat or dotted one. Raises MetadataError for an unknown one."""
    return _FLAT[locate(name)]


def check_given_once(values: Mapping[str, Any], pairs: Iterable[tuple[str, str]] = SAME) -> None:
    """Raise MetadataError where two values specify the same quantity, so that the intended one is unknown.

    Names that are not metadata are ignored, and so is None.
    """
    given: dict[str, str] = {}
    for name, value in values.items():
        flat = _flat_or_none(name)
        if value is None or flat is None:
            continue
        if flat in given:
            raise MetadataError(f"{flat} is given twice", f"give {given[flat]} or {name}")
        given[flat] = name
    for first, second in pairs:
        if first in given and second in given:
            raise MetadataError(f"{first} and {second} have the same meaning", "give one of them")


def _flat_or_none(name: str) -> str | None:
    """The flat name of a number; None if it is not metadata."""
    section, _, key = name.rpartition(".")
    return _FLAT.get((section, key)) if section else name if name in NAMES else None


def sections_from(values: Mapping[str, Any], *, strict: bool = False) -> dict[str, dict[str, Any]]:
    """Sort flat or dotted metadata into sections; unknown names are dropped, or refused when ``strict``."""
    out: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for name, value in values.items():
        try:
            section, key = locate(name)
        except MetadataError:
            if strict:
                raise
            continue
        out[section][key] = value
    return out


def section_values(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of one wire section, whether spelt as in the section (`shape`) or as in a file (`scan_shape`)."""
    return {NAMES[k][1] if NAMES.get(k, ("", ""))[0] == section else k: v for k, v in values.items()}


def build(section: str, values: Mapping[str, Any], source: str) -> Any:
    """Return a validated Scan, Optics or Detector; MetadataError naming source and field for an impossible value."""
    try:
        values = {k: v for k, v in _quantities(section, section_values(section, values)).items() if v is not None}
    except MetadataError as error:
        raise MetadataError(f"{source}: {error}", error.hint) from None
    if section == "detector" and "transform" in values:
        values.setdefault("transform_given", True)
    try:
        return SECTIONS[section].model_validate(values)
    except ValidationError as error:
        raise MetadataError(
            f"{source}: {_first_problem(section, error)}", "correct the value or leave it out"
        ) from None


def _quantities(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a section in the units of their fields; impossible ones are refused, odd ones not questioned."""
    found = {key: understood(_FLAT.get((section, key), ""), value, ask=False) for key, value in values.items()}
    coefficients = values.get("aberrations") if section == "optics" else None
    if isinstance(coefficients, Mapping):
        known = {name: value for name, value in coefficients.items() if value is not None}
        found["aberrations"] = {name: understood(name, value, ask=False) for name, value in known.items()}
    return found


def typed(values: Mapping[str, Any], *, ask: bool = True) -> dict[str, Any]:
    """Metadata typed by people, in the units of their fields; odd values are questioned. Raises MetadataError."""
    return {name: understood(flat_name(name), value, ask=ask) for name, value in values.items()}


def _first_problem(section: str, error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in (section, *first["loc"]))
    return f"{field}: {rephrased(first)}"


def overlay(header: ScanHeader, values: Mapping[str, Any], source: str = "settings") -> ScanHeader:
    """Return ``header`` with flat or dotted metadata applied; None removes a value, so that it is estimated again.

    Raises MetadataError for unknown names, impossible values.
    """
    sections = sections_from(typed(values, ask=False), strict=True)

    def laid_over(section: str) -> Any:
        current, new = getattr(header, section), sections[section]
        if "field_of_view_A" in new:
            new = {"step_A": None, **new}  # it replaces the previous step
        for name, other in (PIXEL_KEYS, PIXEL_KEYS[::-1]):
            if new.get(name) is not None and other not in new:
                new = {**new, other: None}  # the same size in another unit
        if new.get("step_A") is not None or new.get("field_of_view_A") is not None:
            new = {"matrix": None, **new}
        if "transform" in new:
            new = {**new, "transform_given": new["transform"] is not None}
        if section == "optics":
            # an alias (defocus_A) must replace the coefficient it stands for, not be outvoted by it
            taken_back = aberrations_from({name: 1.0 for name, value in new.items() if value is None})
            remaining = {name: value for name, value in header.optics.aberrations.items() if name not in taken_back}
            new = {**new, "aberrations": {**remaining, **aberrations_from(new)}}
        return build(section, {**current.model_dump(), **new}, source) if new else current

    return replace(header, scan=laid_over("scan"), optics=laid_over("optics"), detector=laid_over("detector"))


def to_attributes(header: ScanHeader) -> dict[str, Any]:
    """Return the flat metadata attributes of a native file: only known values."""
    dumped = {name: getattr(header, name).model_dump() for name in SECTIONS}
    dumped["optics"].update(dumped["optics"].pop("aberrations"))
    attributes: dict[str, Any] = {}
    for name, (section, key) in NAMES.items():
        value = dumped[section].get(key)
        if value is None or (key == "transform" and not header.detector.transform_given):
            continue
        attributes[name] = np.asarray(value) if isinstance(value, tuple) else value
    return attributes


def fill_in(header: ScanHeader, values: Mapping[str, Any], source: str = "configuration") -> ScanHeader:
    """Add metadata that ``header`` does not contain; values of the stream or file win (docs/conventions.md)."""
    return overlay(header, unstated_by(header, values), source)


def unstated_by(header: ScanHeader, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that a scan does not specify itself. Raises MetadataError for unknown names."""

    def missing(name: str) -> bool:
        section, key = locate(name)
        part = getattr(header, section)
        if flat_name(name) in STEP_NAMES:
            return header.scan.step_A is None and header.scan.matrix is None and getattr(part, key) is None
        if flat_name(name) in PIXEL_NAMES:
            return header.detector.pixel_mrad is None and header.detector.pixel_invA is None
        if section == "optics" and aberrations_from({key: 1.0}):
            return not set(aberrations_from({key: 1.0})) & set(header.optics.aberrations)
        return key not in part.model_fields_set or getattr(part, key) is None

    return {name: value for name, value in values.items() if missing(name)}


def overruled_values(header: ScanHeader, values: Mapping[str, Any]) -> list[str]:
    """Return quantities of which a scan says otherwise than ``values``, each with both. Raises MetadataError."""
    missing = unstated_by(header, values)
    said = to_attributes(header)
    meant = to_attributes(overlay(header, {name: value for name, value in values.items() if name not in missing}))
    both = [name for name in said if name in meant and not _alike(said[name], meant[name])]
    return [f"{name} {_in_words(said[name])}, not {_in_words(meant[name])}" for name in both]


def _in_words(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(f"{number:.6g}" for number in np.ravel(value))


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, str) or np.shape(one) != np.shape(other):
        return bool(np.array_equal(one, other))
    return bool(np.allclose(np.asarray(one, float), np.asarray(other, float), rtol=SAME_VALUE, atol=SAME_VALUE))


def not_overridden(values: Mapping[str, Any], overriding: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata whose quantity ``overriding`` does not give, under this name or another.

    Raises MetadataError for unknown names.
    """
    covered = {quantity for name in overriding for quantity in _quantities_of(name)}
    return {name: value for name, value in values.items() if not covered & _quantities_of(name)}


def _quantities_of(name: str) -> set[str]:
    """Quantities that a name gives, the same for all names of one quantity."""
    if (array := array_name(name)) is not None:
        return {array}
    section, key = locate(name)
    if section == "optics" and (found := aberrations_from({key: 1.0})):
        return set(found)
    flat = flat_name(name)
    return set(next((names for names in (STEP_NAMES, PIXEL_NAMES) if flat in names), (flat,)))


def questions(header: ScanHeader) -> tuple[str, ...]:
    """Questions to ask about the values of a scan."""
    found = (question(name, value) for name, value in to_attributes(header).items() if name in PLAUSIBLE)
    return tuple(text for text in found if text)
