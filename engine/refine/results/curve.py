"""A loss measured as a function of a calibration value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scanned(StrEnum):
    """Values that can be scanned."""

    DEFOCUS = "defocus_A"
    THICKNESS = "total_thickness_A"
    SLICES = "num_slices"
    ROTATION = "rotation_deg"
    SCALE = "scan_scale"
    """Factor of the scan step."""


@dataclass(frozen=True)
class Curve:
    """Loss on held-out patterns as a function of a value, with its minimum."""

    quantity: Scanned
    values: tuple[float, ...]
    losses: tuple[float, ...]
    start: float
    """Value before the scan."""
    best: float
    """Value at the minimum."""
    uncertainty: float
    """Half the difference of the minima on two disjoint sets of held-out patterns; at least a quarter of the step."""
    applied: bool
    """Whether the value is changed to the best one."""
    reason: str
    """The finding in words."""
