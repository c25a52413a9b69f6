"""A plan of another program as settings of this one: what was adopted, changed, set aside or left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError, brief, did_you_mean
from ptylive.schema.foreign_plans.looked_up_keys import WatchedTable, misspelt, watched
from ptylive.schema.plausible import PLANNED, PLAUSIBLE, question, refusal
from ptylive.schema.preset import Preset
from ptylive.schema.pypty.rows import Gathered, Row, Support

LONGEST = 60
"""Characters of a value in the table of an import."""


AMBIGUOUS = frozenset({"type", "name"})
"""Keys that many tables have."""
SIZES = frozenset({*PLAUSIBLE, *PLANNED})


@dataclass(frozen=True)
class Taken:
    """One line of the table of an import."""

    name: str
    value: str
    """Value as it is in the plan."""
    support: str
    """``mapped``, ``changed`` (mapped with a difference stated in the remark), ``left out`` or ``set aside``."""
    here: str
    """Resulting setting or metadata."""
    remark: str

    def __str__(self) -> str:
        became = f" -> {self.here}" if self.here else ""
        return f"{self.support}: {self.name} = {self.value}{became}" + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True)
class PlanImport:
    """The contents of a plan."""

    program: str
    settings: Mapping[str, Any]
    """Settings of the refinement, checked."""
    metadata: Mapping[str, Any]
    """Metadata of the experiment, under metadata names."""
    table: tuple[Taken, ...] = field(default=())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know: parameters left out, and those adopted with a difference."""
        return tuple(str(each) for each in self.table if each.support in ("left out", "changed"))


def gathered(
    values: Mapping[str, Any], rows: Iterable[Row], program: str, into: Gathered, *, lenient: bool
) -> list[Taken]:
    """Convert flat names and values into ``into``, row by row; return the table of results.

    Raises MetadataError for unknown names and impossible values, and, unless ``lenient``, for parameters that request
    something not implemented or done by another command; with ``lenient`` these are left out.
    """
    known = {row.name: row for row in rows}
    table: list[Taken] = []
    refused: list[str] = []
    for name, value in values.items():
        row = known.get(name)
        if value is None:
            continue
        if row is None:
            near = did_you_mean(name, known)
            refused.append(f"{name}: {program} has no such parameter" + (f"; {near}" if near else ""))
            table.append(Taken(name, brief(value, LONGEST), "left out", "", "unknown"))
            continue
        if _is_equal(value, row.default):
            continue
        if row.support in (Support.REFUSED, Support.ELSEWHERE):
            refused.append(f"{name}: {row.remark}")
            table.append(Taken(name, brief(value, LONGEST), "left out", "", row.remark))
        elif row.support is Support.SET_ASIDE or row.convert is None:
            table.append(Taken(name, brief(value, LONGEST), "set aside", "", row.remark))
        else:
            read = watched(value)
            table += _converted(row, value, read, into, program)
            for key in sorted(read.unused_keys() & set(known) - AMBIGUOUS) if isinstance(read, WatchedTable) else ():
                raise MetadataError(f"{name}.{key}: {program} has no {key} in {name}", f"it belongs next to {name}")
    if refused and not lenient:
        raise MetadataError(f"not imported: {'; '.join(refused)}", "remove it, or use ptylive preset --lenient")
    return table


def _converted(row: Row, value: Any, read: Any, into: Gathered, program: str) -> list[Taken]:
    """Convert one parameter (``read``: its value, watched); notes of its converter list the parts left out."""
    before, notes = {**into.preset, **into.metadata}, len(into.notes)
    assert row.convert is not None  # noqa: S101  (checked before)
    refused: MetadataError | None = None
    try:
        row.convert(read, into)
    except MetadataError as error:
        refused = error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        refused = MetadataError(f"{row.name} = {brief(value)}: {error}", "correct the file")
    for theirs, ours in misspelt(read):  # before errors that follow from it
        raise MetadataError(f"{row.name}.{theirs}: {program} has no such key", f"did you mean {ours!r}?") from None
    if refused is not None:
        raise refused
    now = {**into.preset, **into.metadata}
    _check_sizes(row.name, value, {key: item for key, item in now.items() if key not in before or before[key] != item})
    changed = [f"{key} = {brief(now[key], LONGEST)}" for key in now if key not in before or before[key] != now[key]]
    shown = brief(value, LONGEST)
    support = "changed" if row.remark else "mapped"
    found = [Taken(row.name, shown, support, ", ".join(changed), row.remark)] if changed else []
    return found + [Taken(row.name, shown, "left out", "", note) for note in into.notes[notes:]]


def _check_sizes(name: str, value: Any, found: Mapping[str, Any]) -> None:
    """Raise MetadataError for values in another unit than the program's."""
    for key, size in found.items():
        rule = "thickness_A" if key == "slice_distances_A" and np.any(size) else key
        odd = (refusal(rule, size) or (question(rule, size), "")) if rule in SIZES else ("", "")
        if odd[0]:
            problem = odd[0].replace(rule, key, 1)
            raise MetadataError(f"{name} = {brief(value, LONGEST)}: {problem}", "correct it, or its unit")


def checked(program: str, into: Gathered, table: list[Taken]) -> PlanImport:
    """Return the import, once its settings are known to be possible. Raises MetadataError."""
    Preset.from_mapping(into.preset)
    return PlanImport(program, dict(into.preset), dict(into.metadata), tuple(table))


def _is_equal(value: Any, default: Any) -> bool:
    """Whether a value is the default; null in a table is as good as leaving it out."""
    if isinstance(value, Mapping) and isinstance(default, Mapping):
        return {key: item for key, item in value.items() if item is not None} == dict(default)
    try:
        return bool(np.array_equal(value, default)) if isinstance(value, list | tuple) else bool(value == default)
    except (TypeError, ValueError):
        return False


def number_of(value: Any, name: str) -> float:
    """Return a finite number, also from a text, since YAML reads 1e-3 as text. Raises MetadataError."""
    try:
        found = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError, OverflowError):
        found = float("nan")
    if not np.isfinite(found):
        raise MetadataError(f"{name} = {brief(value)} is not a number", "correct the file")
    return found


def table_of(value: Any, name: str) -> dict[str, Any]:
    """Return a table. Raises MetadataError."""
    if not isinstance(value, Mapping):
        raise MetadataError(f"{name} = {brief(value)} is not a table", "correct the file")
    return value if isinstance(value, WatchedTable) else {str(key): item for key, item in value.items()}


def transform_of(flips: Any, name: str) -> str | None:
    """``detector_transform`` of [rows reversed, columns reversed, transposed], applied in this order; None if none."""
    if not isinstance(flips, list | tuple) or len(flips) != 3:
        raise MetadataError(f"{name} = {brief(flips)} is not a list of three", "correct the file")
    words = [word for word, is_set in zip(("flip_rows", "flip_cols", "transpose"), flips, strict=True) if is_set]
    return "+".join(reversed(words)) or None  # ours is undone last word first


def parity(program: str, rows: Iterable[Row]) -> str:
    """The table of a program's parameters as Markdown, with a section for each of its own."""
    lines: list[str] = []
    every = tuple(rows)
    for section in dict.fromkeys(row.section for row in every):
        lines += [
            f"### {section}",
            "",
            f"| {program} | default | support | here | remark |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in (entry for entry in every if entry.section == section):
            keys = ", ".join(f"`{key}`" for key in row.keys) or "—"
            default = "—" if row.default is None else f"`{row.default}`"
            lines.append(f"| `{row.name}` | {default} | {row.support} | {keys} | {row.remark} |")
        lines.append("")
    return "\n".join(lines)
