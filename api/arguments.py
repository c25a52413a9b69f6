"""Checks of arguments of public functions: a script gets the same errors as the command line, before work begins.

Each function returns the argument in the type used internally; it raises MetadataError with its name and a remedy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError, brief
from ptylive.schema.foreign_plans.spelling import in_our_words
from ptylive.schema.metadata import NAMES, ONE_COEFFICIENT, array_name, arrays_and_numbers, check_given_once, typed
from ptylive.schema.model import Array

MOST_THREADS = 256
MOST_SECONDS = 1e6


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number within bounds; may be a numpy integer."""
    bounds = f"from {least} on" if most is None else f"from {least} to {most}"
    number = None if isinstance(value, bool) or not isinstance(value, Integral) else int(value)
    if number is None or number < least or (most is not None and number > most):
        raise MetadataError(f"{name} = {brief(value)} is impossible", f"give a whole number {bounds}")
    return number


def threads(value: object) -> int:
    """Number of threads of a refinement."""
    return whole("threads", value, 1, MOST_THREADS)


def seconds(name: str, value: object) -> float:
    """A waiting time in seconds."""
    number = -1.0 if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not 0 <= number < MOST_SECONDS:
        raise MetadataError(f"{name} = {brief(value)} is impossible", "give seconds, a number from 0 on")
    return number


def texts(name: str, value: object) -> tuple[str, ...]:
    """Several words: a list, or one text separated by commas, as typed by users."""
    given = value.split(",") if isinstance(value, str) else value
    listed = tuple(given) if isinstance(given, Iterable) and not isinstance(given, bytes) else (given,)
    if not all(isinstance(item, str) for item in listed):
        raise MetadataError(f"{name} = {brief(value)} is not a list of names", "give a list of texts")
    return tuple(str(item) for item in listed)


def cluster(value: object) -> str | None:
    """Address of a cluster; None: no cluster."""
    if not isinstance(value, str | None):
        raise MetadataError(f"cluster = {brief(value)} is not text", "write where it is, as tcp://SCHEDULER:8786")
    return value


def table(name: str, value: object) -> dict[str, Any]:
    """A table of names and values."""
    if not isinstance(value, Mapping) or not all(isinstance(item, str) for item in value):
        raise MetadataError(
            f"{name} = {brief(value)} is not a table of names and values", f"give {name}={{NAME: VALUE}}"
        )
    return dict(value)


def place(name: str, value: object) -> Path:
    """A path, which may begin with a home folder (``~/scan.h5``)."""
    if not isinstance(value, str | os.PathLike):
        raise MetadataError(f"{name} = {brief(value)} is not a path", "give a text or a pathlib.Path")
    try:
        return Path(os.fsdecode(value)).expanduser()
    except RuntimeError as error:
        raise MetadataError(f"{name} = {brief(value)}: {error}", "write the full path") from None


def places(name: str, value: object) -> list[Path]:
    """One or several paths and patterns."""
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return [place(name, value)]
    return [place(name, item) for item in value]


def settings(value: object) -> Any:
    """Settings of refinements, a preset or a preset file; None: none."""
    if value is None or hasattr(value, "model_dump"):
        return value
    if isinstance(value, str | os.PathLike):
        return place("preset", value)
    return table("preset", value)


def metadata(value: object) -> dict[str, Any]:
    """Metadata of a scan, in the units of their fields, with questions raised for odd values; arrays, and their files,
    are passed on unchanged.
    """
    given = in_our_words(table("metadata", value))
    numbers = arrays_and_numbers(given)[1]
    _check_not_of_refinements(numbers)
    check_given_once(numbers, ONE_COEFFICIENT)  # attributes of a file, which repeat some, may be passed on
    return {**typed(numbers), **{name: item for name, item in given.items() if name not in numbers}}


def _check_not_of_refinements(names: Iterable[str]) -> None:
    """Raise MetadataError for the name of a setting of refinements, which no metadata have."""
    unknown = [name for name in names if name not in NAMES]
    if not unknown:
        return
    from ptylive.application.extensions import Preset

    for name in unknown:
        if name in Preset.settings():
            raise MetadataError(f"{name} is a setting of refinements, not of scans", f"give preset={{{name!r}: …}}")


def patterns(value: object, given: Mapping[str, Any]) -> tuple[Array, dict[str, Any]]:
    """Patterns of a scan, and its metadata with pixels that a masked array masks in every pattern as bad pixels."""
    if hasattr(value, "keys"):
        raise MetadataError("source is a group of arrays", "give one of them, such as source['data'], or the file")
    try:
        counts, values = np.asarray(value), dict(given)
    except ValueError as error:  # rows of different lengths
        raise MetadataError(
            f"source is not an array: {error}", "give patterns of one size, with equally many in each row"
        ) from None
    if counts.ndim == 0:
        raise MetadataError(f"source = {brief(value)} is neither a path nor an array", "give one of them")
    if counts.ndim < 3 or not (isinstance(value, np.ma.MaskedArray) and value.mask.any()):
        return counts, values
    mask = np.ma.getmaskarray(value)
    leading = tuple(range(counts.ndim - 2))
    bad = mask.any(axis=leading)
    if not np.array_equal(bad, mask.all(axis=leading)):
        raise MetadataError(
            "the mask of the array is not the same in every pattern", "fill it: source.filled(0) sets them to 0"
        )
    if any(array_name(name) == "bad_pixel_mask" for name in values):
        raise MetadataError("bad_pixel_mask is given, and the array has a mask", "give bad_pixel_mask and source.data")
    return counts, {**values, "bad_pixel_mask": bad}
