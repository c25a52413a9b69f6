"""Conversion of a PyPty preset to ours: settings, metadata, arrays, and what was not adopted, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError, did_you_mean
from ptylive.schema.model import Array
from ptylive.schema.preset import Preset
from ptylive.schema.preset.added import declared
from ptylive.schema.pypty.rows import Gathered, Row, Support, same
from ptylive.schema.pypty.table import ROWS, row_of


@dataclass(frozen=True)
class PyptyImport:
    """The contents of a PyPty preset."""

    settings: Mapping[str, Any]
    """Settings of the refinement, checked; arrays are not among them yet."""
    metadata: Mapping[str, Any]
    """Metadata of the experiment, under metadata names."""
    arrays: Mapping[str, Array]
    """Arrays by the setting that names their npy file."""
    positions_A: Array | None
    """(N, 2), detector frame, Å."""
    notes: tuple[str, ...]
    """Values adopted with a difference."""
    left_behind: tuple[str, ...]
    """Values not adopted, with the reason."""

    @property
    def preset(self) -> Preset:
        """The settings as a preset."""
        return Preset.from_mapping(self.settings)


def import_preset(
    given: Mapping[str, Any], *, pattern_shape: tuple[int, int] | None = None, lenient: bool = False
) -> PyptyImport:
    """Convert PyPty parameters to settings, metadata and arrays.

    ``pattern_shape``: of the recording, for values that PyPty counts in pixels of the padded pattern. Raises
    MetadataError for unknown names and impossible values, and for parameters that request something not implemented or
    done by another command, unless ``lenient``: these are then left behind with their reason.
    """
    into = Gathered(given, pattern_shape)
    left_out: list[str] = []
    for name, value in given.items():
        row = row_of(name) or _row_of_added(name)
        if row is None:
            near = did_you_mean(name, [each.name for each in ROWS])
            left_out.append(f"{name}: PyPty has no such parameter" + (f"; {near}" if near else ""))
        elif row.support in (Support.REFUSED, Support.ELSEWHERE) and not _is_default(row, value):
            left_out.append(f"{name}: {row.remark}")
        elif row.convert is not None and (row.off_is_deliberate or not _is_switched_off(row, value)):
            _convert(row, value, into)
    if left_out and not lenient:
        raise MetadataError(f"not imported: {'; '.join(left_out)}", "remove it, or import leniently")
    if "scan_step_A" not in into.metadata and (step_A := _step_of(into)) is not None:
        into.metadata["scan_step_A"] = step_A
    settings = dict(into.preset)
    if settings.get("num_slices", 1) == 1 and "total_thickness_A" in settings:
        settings.pop("slice_distances_A", None)
    Preset.from_mapping(settings)
    return PyptyImport(settings, into.metadata, into.arrays, into.positions_A, tuple(into.notes), tuple(left_out))


def looks_like_pypty(values: Mapping[str, Any]) -> bool:
    """Whether names are PyPty's rather than ours: some occur only in its table."""
    ours = set(Preset.settings())
    return any(row_of(name) is not None and name not in ours for name in values)


def is_all_pypty(values: Mapping[str, Any]) -> bool:
    """Whether PyPty has all of the names."""
    return bool(values) and all(row_of(name) is not None for name in values)


def means_otherwise(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Names that both programs have, but whose values PyPty interprets in other units or another way."""
    found = []
    for name, value in values.items():
        row = row_of(name)
        if row is None or row.convert is None or name not in Preset.settings():
            continue
        into = Gathered({name: value}, None)
        try:
            row.convert(value, into)
        except (MetadataError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
            continue  # reported where the value is used
        if into.notes or into.preset.get(name, value) != value:
            found.append(name)
    return tuple(found)


def _step_of(into: Gathered) -> list[float] | None:
    """Step of a scan given only by its positions: the median distance along both axes; None: not known."""
    places, shape = into.positions_A, into.metadata.get("scan_shape")
    if places is None or shape is None or len(places) != shape[0] * shape[1] or min(shape) < 2:
        return None
    grid = np.asarray(places, dtype=float).reshape(*shape, 2)
    steps = [float(np.median(np.linalg.norm(np.diff(grid, axis=axis), axis=-1))) for axis in (0, 1)]
    return steps if min(steps) > 0 else None


def _row_of_added(name: str) -> Row | None:
    """The row of a parameter that an added setting declares as its PyPty name."""
    found = next((setting for setting in declared().values() if setting.pypty == name), None)
    if found is None:
        return None
    return Row(name, "Extensions", found.default, Support.MAPPED, (found.name,), "the same", same(found.name))


def _convert(row: Row, value: Any, into: Gathered) -> None:
    assert row.convert is not None  # noqa: S101  (checked before)
    try:
        with np.errstate(all="ignore"):  # infinite results are refused as settings
            row.convert(value, into)
    except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise MetadataError(f"{row.name} = {str(value)[:60]}: {error}", "correct the preset") from None


def _is_switched_off(row: Row, value: Any) -> bool:
    """Whether a value is a default that switches something off. Other defaults are deliberate where written out."""
    return _is_default(row, value) and (value is None or not (isinstance(value, str) or np.any(value)))


def _is_default(row: Row, value: Any) -> bool:
    """Whether a value is PyPty's default."""
    if value is None or row.default is None:
        return value is None
    if isinstance(value, str) or isinstance(row.default, str):
        return bool(value == row.default)
    try:
        return bool(np.array_equal(np.asarray(value, dtype=float), np.asarray(row.default, dtype=float)))
    except (TypeError, ValueError):
        return False
