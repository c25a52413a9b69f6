"""Stages of a run: tables of settings, each applied over the preset's common settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ptylive.schema.errors import MetadataError
from ptylive.schema.settings_text import as_table

if TYPE_CHECKING:
    from ptylive.schema.preset.model import Preset

MOST = 20
LONGEST_NAME = 60
NAME = "name"
"""Name of a stage; the only entry of its table that is not a setting."""
FIRST_ONLY = ("start_object", "start_probe", "start_positions")
"""A later stage begins where the previous one ended."""


@dataclass(frozen=True)
class Stage:
    """One of several successive refinements."""

    name: str
    preset: Preset
    """All of its settings."""
    said: frozenset[str]
    """Names of its own settings, as opposed to those of all stages."""


def settings_in(document: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a document: its section [refine], or all of it, and its tables [[stage]]. Raises MetadataError."""
    values = as_table(document["refine"], "refine") if "refine" in document else dict(document)
    values.pop("stage", None)
    return {**values, **({"stages": document["stage"]} if "stage" in document else {})}


def checked_tables(value: object) -> tuple[dict[str, Any], ...]:
    """Check hand-written tables of stages. Raises MetadataError for anything else."""
    if isinstance(value, Mapping) or isinstance(value, str) or not isinstance(value, list | tuple):
        raise MetadataError(f"stages is {str(value)[:40]!r}", "write a table [[stage]] for each")
    if len(value) > MOST:
        raise MetadataError(f"there are {len(value)} stages", f"use at most {MOST}")
    return tuple(_checked(number, table) for number, table in enumerate(value, 1))


def _checked(number: int, table: object) -> dict[str, Any]:
    if not isinstance(table, Mapping):
        raise MetadataError(f"stage {number} is {str(table)[:40]!r}", "write a table [[stage]] with its settings")
    values = {str(name): value for name, value in table.items()}
    name = values.get(NAME, "")
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
        raise MetadataError(f"stage {number} has the name {str(name)[:40]!r}", f"use up to {LONGEST_NAME} letters")
    if "stages" in values or "stage" in values:
        raise MetadataError(f"stage {number} contains stages", "write all stages in one list")
    if "start_map" in values:
        raise MetadataError(f"stage {number} has start_map", "write start_map with the settings of all stages")
    for name in FIRST_ONLY:
        if number > 1 and values.get(name) is not None:
            raise MetadataError(
                f"stage {number} has {name}, but it starts where stage {number - 1} ends", f"leave {name} to stage 1"
            )
    return values


def titled(number: int, name: str) -> str:
    """Display name of a stage."""
    return f"stage {number} ({name})" if name else f"stage {number}"
