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
"""Maximum length of one value; MOST_CHARACTERS_TOGETHER is the limit for all together."""
MOST_CHARACTERS_TOGETHER = 200_000
WRITTEN_OUT = 64
"""Largest array whose numbers are written out; for larger ones shape, type and range are given."""
READ_BYTES = 2**24
"""Largest data set that is read; for a larger one only shape and type are given."""


def describe_metadata(path: Path) -> dict[str, Any]:
    """Return attributes and data sets of a recording: ``entries`` [{name, value}] in the order of the file.

    ``left_out``: number of further entries left out. Raises InputFileError.
    """
    import h5py

    collected = _Collected()
    try:
        with h5py.File(path, "r") as file:
            _attributes(collected, "", file)
            file.visititems(lambda name, node: _visit(collected, name, node))
    except FAULTS as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: {text}", DAMAGED_HINT) from None
    return {"entries": collected.entries, "left_out": collected.left_out}


class _Collected:
    """Entries collected so far, within their bounds."""

    def __init__(self) -> None:
        self.entries: list[dict[str, str]] = []
        self.left_out = 0
        self._characters = 0

    @property
    def full(self) -> bool:
        """Whether no more entries are accepted, so that values need not be read."""
        return len(self.entries) >= MOST_ENTRIES or self._characters >= MOST_CHARACTERS_TOGETHER

    def add(self, name: str, value: str) -> None:
        """Add an entry, truncated if it is too long."""
        name, value = plain(name, MOST_CHARACTERS // 10), plain(value, MOST_CHARACTERS)
        self._characters += len(name) + len(value)
        self.entries.append({"name": name, "value": value})


def _visit(collected: _Collected, name: str, node: Any) -> None:
    import h5py

    if isinstance(node, h5py.Dataset):
        if collected.full:
            collected.left_out += 1
        else:
            collected.add(name, _data_set(node))
    _attributes(collected, name, node)


def _attributes(collected: _Collected, place: str, node: Any) -> None:
    for name in node.attrs:
        if collected.full:
            collected.left_out += 1
            continue
        collected.add(f"{place}/{name}".lstrip("/"), as_words(node.attrs[name]))


def _data_set(data_set: Any) -> str:
    shape = " × ".join(map(str, data_set.shape or ()))
    kind = "text" if data_set.dtype.kind in "OSU" else str(data_set.dtype)
    if data_set.shape is None or data_set.size * max(data_set.dtype.itemsize, 1) > READ_BYTES:
        return f"{shape} {kind}".strip()
    if data_set.size <= WRITTEN_OUT:
        return as_words(data_set[()])
    if data_set.dtype.kind in "biuf":
        values = data_set[()]
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
    cleaned = plain_text(text)
    return cleaned if len(cleaned) <= most else f"{cleaned[:most]} … ({len(cleaned) - most} more characters)"
