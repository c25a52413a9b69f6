"""Selection of the patterns of a scan: ranges of acquisition numbers as text, or an npy file of numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import IndexArray

_RANGE = re.compile(r"^(-?\d+)?(?:(:)(-?\d+)?(?::(\d+))?)?$")
LONGEST = 100_000
"""Characters of a list of ranges."""


def check_sequence(value: object) -> object:
    """Return the text of a sequence; lists of numbers become text. Raises ValueError for anything else."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = ", ".join(str(number) for number in value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and not value.endswith(".npy"):
        if len(value) > LONGEST:
            raise ValueError("too many ranges: put the numbers into an npy file")
        for part in value.split(","):
            match = _RANGE.match(part.strip())
            if match is None or not part.strip() or (match[4] is not None and int(match[4]) < 1):
                raise ValueError(f"{part.strip()!r} is not a range: write 5, 0:100 or 0:100:2, joined by commas")
    return value


def chosen_patterns(sequence: str, count: int) -> IndexArray:
    """Numbers (n,) of the chosen ones among ``count`` patterns, ascending, each once. Raises MetadataError."""
    numbers = _from_file(sequence) if sequence.endswith(".npy") else _from_text(sequence, count)
    inside = np.unique(numbers[(numbers >= 0) & (numbers < count)])
    if len(inside) == 0:
        raise MetadataError(f"sequence {sequence!r} selects none of {count} patterns", "change it or leave it out")
    return np.asarray(inside, dtype=np.int64)


def _from_text(sequence: str, count: int) -> IndexArray:
    everything = np.arange(count)
    chosen: list[IndexArray] = []
    for part in sequence.split(","):
        match = _RANGE.match(part.strip())
        if match is None:
            raise MetadataError(f"sequence: {part.strip()!r} is not a range", "write 5, 0:100 or 0:100:2")
        first, colon, last, step = match.groups()
        if colon is None:
            chosen.append(everything[[int(first)]] if -count <= int(first) < count else everything[:0])
        else:
            chosen.append(everything[_number(first) : _number(last) : _number(step)])
    return np.concatenate(chosen)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _from_file(path: str) -> IndexArray:
    values = read_npy("sequence", path, "give an npy file of whole numbers")
    if values.dtype == bool:
        return np.flatnonzero(values)
    if values.dtype.kind not in "iu":
        raise MetadataError(f"sequence {path} holds {values.dtype}", "give an npy file of whole numbers")
    return np.asarray(values, dtype=np.int64).ravel()
