"""A row of PyPty's parameter table, and the data that an import collects from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array
from ptylive.schema.schedule import Schedule


class Support(StrEnum):
    """Support of a parameter."""

    MAPPED = "mapped"
    """A key here does the same."""
    ELSEWHERE = "elsewhere"
    """Another command or option does it; importing a preset that requests it is reported."""
    SET_ASIDE = "set aside"
    """It has no effect here, for the given reason; accepted silently."""
    REFUSED = "refused"
    """Not implemented; importing a preset that requests it is reported."""


@dataclass
class Gathered:
    """An import in progress."""

    given: Mapping[str, Any]
    """All parameters of the preset."""
    pattern_shape: tuple[int, int] | None
    """Pixels of a recorded pattern, where known."""
    preset: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    """Arrays that become npy files, by the preset's key that names the file."""
    positions_A: Array | None = None
    """(N, 2), detector frame."""
    notes: list[str] = field(default_factory=list)

    def window(self) -> int | None:
        """Pixels of PyPty's window: the pattern, binned, padded and upsampled; None if the pattern is unknown."""
        if self.pattern_shape is None:
            return None
        binned = max(self.pattern_shape) // max(int(self.given.get("data_bin") or 1), 1)
        upsampling = int(self.given.get("upsample_pattern") or 1)
        return binned * upsampling + 2 * int(self.given.get("data_pad") or 0)

    def pixel_A(self) -> float | None:
        """Object pixel, Å, where the preset gives it; PyPty's default of 1 Å says nothing."""
        sizes = [self.given.get(name) for name in ("pixel_size_y_A", "pixel_size_x_A")]
        known = [float(size) for size in sizes if size is not None]
        return known[0] if known else None


Converter = Callable[[Any, Gathered], None]


@dataclass(frozen=True)
class Row:
    """One parameter of PyPty."""

    name: str
    section: str
    default: Any
    support: Support
    keys: tuple[str, ...]
    """Destination: keys of the preset, or metadata names."""
    remark: str
    convert: Converter | None = None
    """Stores a value in an import; None: there is nothing to store."""
    off_is_deliberate: bool = False
    """Whether a value that switches the parameter off is significant here too, where the default is to choose."""


def number(value: Any, name: str) -> float:
    """Return a finite or infinite number. Raises MetadataError."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(f"{name} = {value!r} is not a number", "correct it")
    return float(value)


def followed(value: Any, factor: float = 1.0) -> Any:
    """A number times ``factor``, or a corresponding schedule; lambdas become expressions in ``epoch``."""
    if isinstance(value, str):
        schedule = Schedule.parse(value)
        return schedule.text if factor == 1 else Schedule.parse(f"({schedule.text}) * {factor!r}").text
    return value if factor == 1 or isinstance(value, bool) else number(value, "value") * factor


def same(key: str) -> Converter:
    """Store the value unchanged under ``key``; lambdas as expressions."""

    def convert(value: Any, into: Gathered) -> None:
        into.preset[key] = followed(value)

    return convert


def scaled(key: str, factor: float) -> Converter:
    """A number or schedule times ``factor``."""

    def convert(value: Any, into: Gathered) -> None:
        into.preset[key] = followed(value, factor)

    return convert


def switch(key: str) -> Converter:
    """A truth value, often written 0 and 1, or a schedule."""

    def convert(value: Any, into: Gathered) -> None:
        into.preset[key] = followed(value) if isinstance(value, str) else bool(value)

    return convert


def plain(key: str) -> Converter:
    """A value that must not be a lambda: it cannot change while a refinement runs."""

    def convert(value: Any, into: Gathered) -> None:
        if isinstance(value, str) and value.lstrip().startswith("lambda"):
            raise MetadataError(f"{key} cannot follow the epoch", "give one value")
        into.preset[key] = value

    return convert


def metadata(key: str, factor: float = 1.0) -> Converter:
    """A number or list of the experiment, times ``factor``; text, with its unit, is read where metadata are."""

    def convert(value: Any, into: Gathered) -> None:
        if isinstance(value, str):
            into.metadata[key] = value
            return
        numbers = np.asarray(value, dtype=float) * factor
        into.metadata[key] = float(numbers) if numbers.ndim == 0 else numbers.tolist()

    return convert


def array(key: str) -> Converter:
    """An array, which becomes a npy file named by ``key``."""

    def convert(value: Any, into: Gathered) -> None:
        into.arrays[key] = np.asarray(value, dtype=float)

    return convert
