"""A live map as it travels: the picture, its scale and what was done to make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptylive.schema.model import DoubleArray, FloatArray


@dataclass(frozen=True, eq=False)
class RingQuality:
    """What a map carries per spatial frequency, measured on the data: one value for each ring of |Q|."""

    frequency_invA: DoubleArray
    signal_share: DoubleArray
    """Share of the ring's power that is not noise."""
    half_data_correlation: DoubleArray
    """Fourier ring correlation of the maps of two halves of the frames, split like a checkerboard."""


@dataclass(frozen=True)
class LiveMap:
    """One map on the scan grid (or an upsampled one); pixel (0, 0) is scan point (0, 0)."""

    name: str
    data: FloatArray
    units: str
    sampling_A: tuple[float, float] | None
    frames: int
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: RingQuality | None = None
