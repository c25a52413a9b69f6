"""The result of a reader of any file format: one form for native and foreign files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ptylive.schema import Basis, EventFrames
from ptylive.schema.model import Array, BoolArray


class StoredFrames(Protocol):
    """Frames in a file, read when they are accessed: (…, Qy, Qx), or vectors (…, N + M)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes (rows, columns with flyback) or (frames,), then those of a frame."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        ...

    def __getitem__(self, selection: Any) -> Array:
        """Return frames by numbers and slices of the leading axes."""
        ...


CHECK_IT = ": check it"
"""Ending of a note that is a guess, or maybe not what the user meant: it is shown before computations too."""


@dataclass(frozen=True)
class ScanFile:
    """An open file as its reader understands it.

    metadata: in the contract's names and units (docs/conventions.md); arrays: bad_pixel_mask, positions_A,
    vacuum_pattern, masks, still in the file if that is HDF5; received: bool (frames,), None for all; chunk: one pattern
    by acquisition number as a ``bslz4`` part of the stream, where the file holds such patterns; events: patterns by a
    selection of the leading axes, where the file holds events; notes: what a user should know about the interpretation.
    """

    frames: StoredFrames
    metadata: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)
    received: BoolArray | None = None
    basis: Basis = field(default_factory=Basis)
    chunk: Callable[[int], bytes] | None = None
    events: Callable[[Any], EventFrames] | None = None
    notes: tuple[str, ...] = ()
    sent: Mapping[str, Any] = field(default_factory=dict)
    """What the sender sent in its own words."""

    @property
    def leading(self) -> tuple[int, ...]:
        """Leading axes: (rows, columns with flyback), or (frames,)."""
        return self.frames.shape[: -2 if self.basis.is_raw else -1]
