"""Settings as documents: units, ranges, JSON schema, a table for people, TOML."""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic import create_model
from pydantic.fields import FieldInfo

from ptylive.schema.model import StrictModel
from ptylive.schema.preset.added import declared
from ptylive.schema.preset.model import BESIDE_GROUPS, Preset
from ptylive.schema.preset.schedules import WORDS, schedulable

EMPTY: Mapping[str, str] = MappingProxyType({"schedules": "{}", "stages": "[]"})
"""Spelling of the defaults of settings that belong to no group."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
SUFFIXES: Mapping[str, str] = MappingProxyType({"_A": "Å", "_px": "pixels", "_mrad": "mrad", "_deg": "°"})
UNITS: Mapping[str, str] = MappingProxyType(
    {
        "loss_offset": "counts",
        "loss_floor": "counts",
        "epoch_max": "epochs",
        "sweeps": "epochs",
        "probe_sweeps": "epochs",
        "batch_size": "patterns",
        "dgp_pretraining": "steps",
        "dgp_epochs": "epochs",
        "dgp_batch": "patterns",
        "phase_norm_weight": "1/rad",
        "mixed_variance_sigma": "1/pixel",
        "fast_axis_reg_weight_positions": "1/Å²",
        "slow_axis_reg_weight_positions": "1/Å²",
        "deformation_reg_weight_positions": "1/Å²",
        "fast_axis_reg_weight_tilts": "1/mrad²",
        "slow_axis_reg_weight_tilts": "1/mrad²",
        "deformation_reg_weight_tilts": "1/mrad²",
        "probe_constraint_radius": "semi-angles",
        "window": "half widths",
        "max_count": "evaluations",
    }
)
"""Units not visible in the name; every other setting without a suffix is a pure number, a word or a switch."""


def unit_of(name: str) -> str:
    """Unit of a setting; ``1`` for pure numbers, words and switches."""
    ending = next((unit for suffix, unit in SUFFIXES.items() if name.endswith(suffix)), "1")
    added = declared(ask=False).get(name)
    return (added.unit if added is not None else "") or UNITS.get(name, ending)


def range_of(name: str) -> str:
    """Values that a setting accepts, in words."""
    return " or ".join(dict.fromkeys(_ranges(_schema_of(Preset.full())["properties"][name])))


def json_schema() -> dict[str, Any]:
    """JSON schema of a preset, with a unit for each setting; schedules are texts."""
    return copy.deepcopy(_schema_of(Preset.full()))


@lru_cache(maxsize=8)
def _schema_of(kind: type[Preset]) -> dict[str, Any]:
    """Like :func:`json_schema`, which returns a copy of it; added settings make another kind of preset."""
    schema = _side_by_side(kind).model_json_schema()
    for name, described in schema["properties"].items():
        described["unit"] = unit_of(name)
        if name in schedulable() | WORDS:
            rules = {
                key: described.pop(key) for key in tuple(described) if key not in ("description", "default", "unit")
            }
            described["anyOf"] = [*rules.pop("anyOf", [rules]), {"type": "string", "title": "expression in epoch"}]
    return schema


@lru_cache(maxsize=8)
def _side_by_side(kind: type[Preset]) -> type[StrictModel]:
    """A preset without groups: the form in which it is read and written."""
    settings: dict[str, Any] = {name: (field.annotation, field) for name, field in kind.settings().items()}
    return create_model("Preset", __base__=StrictModel, __doc__=kind.__doc__, **settings)


def table() -> str:
    """All settings as Markdown tables, one for each group."""
    kind = Preset.full()
    parts = [_table(name, inspect.getdoc(group) or "", group.model_fields) for name, group in kind.groups().items()]
    ungrouped = {name: kind.settings()[name] for name in BESIDE_GROUPS}
    return "\n".join([*parts, _table("schedules and stages", "", ungrouped)])


def _table(title: str, words: str, fields: Mapping[str, FieldInfo]) -> str:
    lines = [f"### {title}", "", *([words, ""] if words else [])]
    lines += ["| key | default | unit | values | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field in fields.items():
        default = "—" if field.default is None else EMPTY.get(name, field.default)
        values = range_of(name).replace("|", "\\|")
        lines.append(f"| `{name}` | {default} | {unit_of(name)} | {values} | {field.description} |")
    return "\n".join(lines) + "\n"


def to_toml(preset: Preset, *, explained: bool = False) -> str:
    """A preset as TOML, section [refine]: the differences from the default, or everything with an explanation."""
    lines = ["[refine]"]
    for title, group in Preset.full().groups().items():
        lines += ["", f"# {title}: {inspect.getdoc(group)}", ""] if explained else []
        for name, field in group.model_fields.items():
            value = preset.schedules.get(name, preset.value(name))
            changed = name in preset.schedules or value != field.get_default()
            if explained:
                lines.append(f"# {field.description} [{unit_of(name)}]")
            if changed or (explained and value is not None):
                lines.append(f"{name} = {toml_value(value)}")
            elif explained:
                lines.append(f"# {name} = …")
    for stage in preset.stages:
        lines += ["", "[[stage]]", *(f"{_key(name)} = {toml_value(value)}" for name, value in stage.items())]
    return "\n".join(lines) + "\n"


def toml_section(name: str, values: Mapping[str, Any]) -> str:
    """A section of TOML; empty text if it has no values."""
    lines = [f"{_key(key)} = {toml_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{name}]", *lines, ""]) if lines else ""


def toml_value(value: Any) -> str:
    """A value in TOML's spelling. Raises TypeError for values that TOML cannot express."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(key))} = {toml_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} cannot be written as TOML")


def _key(name: str) -> str:
    """A key, in quotes where TOML requires them."""
    return name if _BARE_KEY.fullmatch(name) else toml_value(name)


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if ord(character) >= 32 and ord(character) != 127 else f"\\u{ord(character):04x}"


def _ranges(described: Mapping[str, Any]) -> Iterator[str]:
    """Kinds and bounds of values, from their JSON schema."""
    for option in described.get("anyOf", []):
        yield from _ranges(option)
    kind = described.get("type")
    if "const" in described:
        yield str(described["const"])
    elif "enum" in described:
        yield ", ".join(str(value) for value in described["enum"])
    elif kind == "boolean":
        yield "true, false"
    elif kind in ("number", "integer"):
        yield _interval(described)
    elif kind == "array":
        yield _list_words(described)
    elif kind == "string":
        yield described.get("title", "text") if described.get("title") == "expression in epoch" else "text"
    elif kind == "object":
        yield "{name: value}" if described.get("additionalProperties", True) is True else "{name: expression}"


def _interval(described: Mapping[str, Any]) -> str:
    whole = "whole number" if described["type"] == "integer" else "number"
    low = f"≥ {described['minimum']:g}" if "minimum" in described else ""
    low = f"> {described['exclusiveMinimum']:g}" if "exclusiveMinimum" in described else low
    high = f"≤ {described['maximum']:g}" if "maximum" in described else ""
    high = f"< {described['exclusiveMaximum']:g}" if "exclusiveMaximum" in described else high
    return " ".join([whole, ", ".join(part for part in (low, high) if part)]).strip()


def _list_words(described: Mapping[str, Any]) -> str:
    inside = described.get("prefixItems", [described.get("items", {})])
    words = " and ".join(dict.fromkeys(word for item in inside for word in _ranges(item)))
    return f"list of {words}"
