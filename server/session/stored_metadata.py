"""Metadata that a recording holds besides the patterns, as read by a file worker: names and texts, for the library.

These files are not trusted: the number of entries and the length of each are bounded, and all entries are plain text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.damaged_files import FAULTS
from ptylive.schema import InputFileError
from ptylive.schema.scan_header import plain_text
from ptylive.streamer.storage.native import DAMAGED_HINT

MOST_ENTRIES = 1000
MOST_CHARACTERS = 4000
"""Maximum length of one value; MOST_TOLD is the limit for all together."""
MOST_TOLD = 200_000
WRITTEN_OUT = 64
"""Largest array whose numbers are written out; for larger ones shape, type and range are given."""
READ_BYTES = 2**24
"""Largest data set that is read; for a larger one only shape and type are given."""


def describe_metadata(path: Path) -> dict[str, Any]:
    """Return attributes and data sets of a recording: ``entries`` [{name, value}] in the order of the file.

    ``left_out``: number of further entries left out. Raises InputFileError.
    """
    import h5py

    told = _Told()
    try:
        with h5py.File(path, "r") as file:
            _attributes(told, "", file)
            file.visititems(lambda name, one: _visit(told, name, one))
    except FAULTS as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: {text}", DAMAGED_HINT) from None
    return {"entries": told.entries, "left_out": told.left_out}


class _Told:
    """Entries collected so far, within their bounds."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []
        self.left_out = 0
        self._characters = 0

    @property
    def full(self) -> bool:
        """Whether no more entries are accepted, so that values need not be read."""
        return len(self.entries) >= MOST_ENTRIES or self._characters >= MOST_TOLD

    def add(self, name: str, value: str) -> None:
        """Add an entry, truncated if it is too long."""
        name, value = plain(name, MOST_CHARACTERS // 10), plain(value, MOST_CHARACTERS)
        self._characters += len(name) + len(value)
        self.entries.append({"name": name, "value": value})


def _visit(told: _Told, name: str, one: Any) -> None:
    import h5py

    if isinstance(one, h5py.Dataset):
        if told.full:
            told.left_out += 1
        else:
            told.add(name, _data_set(one))
    _attributes(told, name, one)


def _attributes(told: _Told, place: str, one: Any) -> None:
    for name in one.attrs:
        if told.full:
            told.left_out += 1
            continue
        told.add(f"{place}/{name}".lstrip("/"), as_words(one.attrs[name]))


def _data_set(one: Any) -> str:
    shape = " × ".join(map(str, one.shape or ()))
    kind = "text" if one.dtype.kind in "OSU" else str(one.dtype)
    if one.shape is None or one.size * max(one.dtype.itemsize, 1) > READ_BYTES:
        return f"{shape} {kind}".strip()
    if one.size <= WRITTEN_OUT:
        return as_words(one[()])
    if one.dtype.kind in "biuf":
        values = one[()]
        finite = values[np.isfinite(values)]
        spread = f", {finite.min():.6g} to {finite.max():.6g}" if finite.size else ""
        return f"{shape} {kind}{spread}"
    return f"{shape} {kind}"


def as_words(value: Any) -> str:
    """Return an attribute or small data set as text: texts unchanged, numbers so that they read back the same."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.ndim:
        return "[" + ", ".join(as_words(each) for each in value) + "]"
    if isinstance(value, np.ndarray):
        return as_words(value[()])
    if isinstance(value, np.generic):
        return as_words(value.item())
    if isinstance(value, float) and value == 0:
        return "0.0"  # of either sign
    return str(value)


def plain(text: str, most: int) -> str:
    """Return a text without control characters, truncated to ``most`` characters with a note of how many were cut."""
    kept = plain_text(text)
    return kept if len(kept) <= most else f"{kept[:most]} … ({len(kept) - most} more characters)"
