"""Settings of the map that a refinement begins from, under the names that live maps have: ``obf.noise = 3``.

Which there are is known to the maps, which the schema does not import: whoever does tells :func:`read_by`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ptylive.schema.errors import MetadataError

NAME = "map_settings"
Read = Callable[[Mapping[str, Any]], tuple[dict[str, float], dict[str, Any]]]
"""Settings of maps among values, checked and by their own names, and the other values. Raises MetadataError."""

_reads: list[Read] = []


def read_by(read: Read) -> None:
    """Have names and values of settings of maps checked by ``read``."""
    _reads[:] = [read]


def gathered(values: Mapping[str, Any], settings: Collection[str]) -> dict[str, Any]:
    """Values with those of maps together under ``map_settings``: METHOD.NAME alone, or tables of a method.

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
            alone |= {f"{name}.{key}": one for key, one in value.items()}
            tables |= {f"{name}.{key}": name for key in value}
    of_maps, others = _reads[0](alone) if _reads else ({}, alone)
    strangers = {tables.get(name, name) for name in others}
    kept = {name: value for name, value in values.items() if name not in tables.values() and name not in alone}
    kept |= {name: values[name] for name in strangers}
    return {**kept, NAME: {**dict(values.get(NAME) or {}), **of_maps}} if of_maps else kept


def checked(values: Any) -> dict[str, Any]:
    """Settings of maps by their own names. Raises MetadataError for what is none."""
    if not isinstance(values, Mapping):
        raise MetadataError(f"{NAME} is {str(values)[:40]!r}", "write METHOD.NAME = NUMBER for each, as obf.noise = 3")
    if not values or not _reads:
        return dict(values)
    of_maps, others = _reads[0](_flat(values))
    for name in others:
        raise MetadataError(
            f"{NAME} has {str(name)[:40]!r}, which is none of a map", "write METHOD.NAME, as wdd.epsilon"
        )
    return of_maps


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat
